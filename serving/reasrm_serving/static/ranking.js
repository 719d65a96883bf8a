// A group's ranking: rewards with their standard errors, and every comparison that they come from.

import { rewards } from "./charts.js";
import { clock, h, say } from "./dom.js";
import { JudgmentView } from "./judgment.js";
import { LETTERS, count, plural, seconds, signed } from "./words.js";

const nameOf = (index, responses) => (index < responses ? LETTERS[index] : "reference");

/** The responses in the first place: mostly one, several if they tie. */
export const leaders = ({ order, standings }) => order.filter((index) => standings[index].place === 1);

export class RankingView {
  /** `onquotes` gets the quotations of the chosen comparison, as one list per response. */
  constructor(root, responses, onquotes) {
    Object.assign(this, { root, responses, onquotes });
    const verdict = h("section", { class: "card verdict waiting" },
      h("p", { class: "eyebrow" }, "Ranking"),
      h("p", { class: "headline" }, `Comparing ${responses} responses`, h("span", { class: "dots", "aria-hidden": "true" }), clock()));
    root.replaceChildren(verdict);
    say("Ranking");
  }

  finish(ranking, actions) {
    for (const { judgment } of ranking.comparisons) derive(judgment);
    this.ranking = ranking;
    const best = ranking.order[0];
    const readings = ranking.comparisons.reduce((sum, { judgment }) => sum + judgment.opinions.length, 0);
    const disagreeing = ranking.comparisons.filter(({ judgment }) => judgment.order_consistent === false).length;
    this.chosen = h("div", { class: "chosen", "aria-live": "off" });
    this.root.replaceChildren(
      h("section", { class: `card verdict ${best === undefined ? "none" : `side-${nameOf(best, this.responses)}`}`, "aria-label": "Ranking" },
        h("p", { class: "eyebrow" }, "Ranking"),
        best === undefined ? h("p", { class: "headline" }, "No comparison gave a verdict.") : this.#order(),
        h("p", { class: "plain" }, `From ${plural(ranking.comparisons.length, "comparison")}, ${plural(readings, "reply").replace("replys", "replies")} in all`,
          disagreeing > 0 && `; in ${disagreeing} of them the two orders disagree`, ". A reward is a strength by Bradley and Terry, the whisker its standard error."),
        h("dl", { class: "facts" },
          facts(ranking)
            .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
        h("div", { class: "actions" }, actions)),
      h("div", { class: "columns", "data-count": "2" },
        h("section", { class: "card" }, h("h3", {}, "Rewards"), this.#rewards()),
        h("section", { class: "card" }, h("h3", {}, "Comparisons"), this.#matrix())),
      this.chosen);
    if (ranking.comparisons.length) this.#choose(ranking.comparisons[0].i, ranking.comparisons[0].j);
    // After the comparison's own announcement, because screen readers read the last one.
    say(best === undefined ? "No comparison gave a verdict." : `Best is ${leaders(ranking).map((index) => nameOf(index, this.responses)).join(" and ")}`);
  }

  #order() {
    const { order, standings } = this.ranking;
    const steps = order.flatMap((index, place) => {
      const even = place > 0 && standings[index].place === standings[order[place - 1]].place;
      const name = nameOf(index, this.responses);
      return [place > 0 && h("span", { class: "than" }, even ? "=" : "›"), h("span", { class: `letter big side-${name}` }, name)];
    });
    return h("p", { class: "headline podium" }, steps);
  }

  #rewards() {
    const { order, standings } = this.ranking;
    const rest = standings.filter(({ index }) => !order.includes(index));
    const rows = [...order.map((index) => standings[index]), ...rest];
    const shown = (standing) => [
      h("b", {}, standing.reward === null ? "not judged" : signed(standing.reward)),
      standing.stderr !== null && h("span", { class: "stderr" }, ` ± ${standing.stderr.toFixed(2)}`),
      standing.duplicate_of !== null && standing.duplicate_of !== undefined && h("span", { class: "stderr" }, ` equals ${nameOf(standing.duplicate_of, this.responses)}`),
    ];
    return h("div", { class: "reward-rows" },
      h("ol", { class: "reward-names" }, rows.map((standing) => h("li", {}, h("span", { class: `letter side-${nameOf(standing.index, this.responses)}` }, nameOf(standing.index, this.responses)), h("span", { class: "reward-number" }, shown(standing))))),
      rewards(rows, this.responses));
  }

  #matrix() {
    const { comparisons, order } = this.ranking;
    const doubtful = comparisons.some(({ judgment }) => judgment.order_consistent === false);
    const gaps = comparisons.length < (order.length * (order.length - 1)) / 2;
    const all = this.ranking.order.concat(this.ranking.standings.map(({ index }) => index).filter((index) => !this.ranking.order.includes(index)));
    const head = (index, scope) => h("th", { scope }, h("span", { class: `letter side-${nameOf(index, this.responses)}` }, nameOf(index, this.responses)));
    return [
      h("p", { class: "hint", id: "matrix-means" }, "How probably, in percent, the row is better than the column. Choose a cell to read that comparison."),
      h("div", { class: "scroll" }, h("table", { class: "matrix", "aria-labelledby": "matrix-means" },
        h("thead", {}, h("tr", {}, h("td"), all.map((j) => head(j, "col")))),
        h("tbody", {}, all.map((i) => h("tr", {}, head(i, "row"), all.map((j) => this.#cell(i, j))))))),
      doubtful && h("p", { class: "hint" }, "≠ the two orders disagree"),
      gaps && h("p", { class: "hint" }, "Empty cells were not needed."),
    ];
  }

  /** The judgments between two, whichever stood first, with the row's probability of winning each. */
  #between(i, j) {
    return this.ranking.comparisons
      .filter((comparison) => (comparison.i === i && comparison.j === j) || (comparison.i === j && comparison.j === i))
      .map((comparison) => ({ ...comparison, probability: comparison.judgment.probability_a === null ? null : comparison.i === i ? comparison.judgment.probability_a : 1 - comparison.judgment.probability_a }));
  }

  #cell(i, j) {
    const between = i === j ? [] : this.#between(i, j);
    if (!between.length) return h("td", { class: i === j ? "self" : "blank" });
    const known = between.map(({ probability }) => probability).filter((probability) => probability !== null);
    const mean = known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
    const [row, column] = [nameOf(i, this.responses), nameOf(j, this.responses)];
    const shown = mean === null ? "–" : rounded(mean);
    const label = mean === null ? "no verdict" : `${shown} %`;
    const doubtful = between.some(({ judgment }) => judgment.order_consistent === false);
    return h("td", {}, h("button", {
      type: "button", class: mean === null ? "cell none" : `cell ${mean >= 0.5 ? "for" : "against"}`, "data-cell": `${i}-${j}`,
      "aria-label": `${row} against ${column}: ${label}${doubtful ? ", the orders disagree" : ""}`, "aria-pressed": "false",
      vars: mean === null ? {} : { "--sure": `${Math.round(Math.abs(mean - 0.5) * 120 + 6)}%` }, onclick: () => this.#choose(i, j, true),
    }, shown, doubtful && h("span", { class: "doubt", "aria-hidden": "true" }, "≠")));
  }

  #choose(i, j, focused = false) {
    for (const cell of this.root.querySelectorAll(".cell")) cell.setAttribute("aria-pressed", String([`${i}-${j}`, `${j}-${i}`].includes(cell.dataset.cell)));
    const between = this.#between(i, j);
    const sections = between.map(() => h("div", { class: "judgment" }));
    const [first, second] = [nameOf(between[0].i, this.responses), nameOf(between[0].j, this.responses)];
    this.chosen.replaceChildren(h("h3", { class: "chosen-head", tabindex: "-1" }, "Comparison of ", h("span", { class: `letter side-${first}` }, first), " and ", h("span", { class: `letter side-${second}` }, second)), ...sections);
    const quoted = Array.from({ length: this.responses }, () => []);
    between.forEach((comparison, at) => {
      const names = { A: nameOf(comparison.i, this.responses), B: nameOf(comparison.j, this.responses) };
      const view = new JudgmentView(sections[at], names, (quotes) => {
        quoted[comparison.i]?.push(...quotes.A);
        quoted[comparison.j]?.push(...quotes.B);
      });
      view.finish(comparison.judgment);
    });
    this.onquotes(quoted);
    if (focused) this.chosen.firstChild.focus();
  }
}

/** The cost of the ranking; comparisons from the cache cost nothing. */
function facts({ comparisons, cached, seconds: took, usage, method }) {
  return [
    ["Method", method.replaceAll("_", " ")],
    cached > 0 && ["Cached", `${cached} of ${plural(comparisons.length, "comparison")}`],
    cached < comparisons.length && ["Time", seconds(took)],
    cached < comparisons.length && ["Tokens", `${count(usage.prompt_tokens)} read, ${count(usage.completion_tokens)} written`],
  ].filter(Boolean);
}

/** A probability in percent, never rounded to certainty. */
function rounded(probability) {
  const whole = Math.round(100 * probability);
  if (whole === 100 && probability < 1) return "> 99";
  return whole === 0 && probability > 0 ? "< 1" : String(whole);
}

/** Add the derived facts that /v1/judge returns to a bare judgment. */
function derive(judgment) {
  judgment.winner = judgment.outcome.winner ?? null;
  judgment.probability_a = judgment.outcome.probability_a ?? null;
  const winners = ["ab", "ba"].map((order) => judgment.opinions.filter((opinion) => opinion.order === order).map(({ outcome }) => outcome.winner));
  const single = winners.every((named) => named.length === 1 && named[0]);
  judgment.order_consistent = single ? winners[0][0] === winners[1][0] : null;
}
