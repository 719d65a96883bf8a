// One judgment, during and after its writing: the verdict, and each reply as structure.

import { clock, h, say, slot } from "./dom.js";
import { bare } from "./highlight.js";
import { pieces, structure } from "./structure.js";
import { axis } from "./charts.js";
import { REASONS, count, percent, plural, seconds, surely } from "./words.js";

const SHOWN_BESIDE = 2; // replies side by side; more of them (votes) share one place

export class JudgmentView {
  /**
   * `names` are the names of the sides: {A, B}; `onquotes` gets the quotations of the replies, as {A: [...], B: [...]};
   * `orders` are those of the replies to come, as far as they have a place of their own.
   */
  constructor(root, names, onquotes, orders = []) {
    Object.assign(this, { root, names, onquotes });
    this.replies = orders.map((order) => ({ order, text: "" }));
    this.chosen = 0;
    this.verdict = h("section", { class: "card verdict", "aria-label": "Verdict" });
    this.votes = h("div", { class: "votes", role: "tablist", "aria-label": "Votes", hidden: true });
    this.columns = h("div", { class: "columns" });
    root.replaceChildren(this.verdict, this.votes, this.columns);
    this.clock = clock();
    this.#waiting("Waiting for the judge");
    if (orders.length) this.#draw();
  }

  /** A piece of a reply has come. */
  delta({ order, reply, text }) {
    const at = (this.replies[reply] ??= { order, text: "" });
    at.text += text;
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      if (!this.judgment) this.#draw();
    });
  }

  /** Show the finished judgment. `known` is the side that is better by an example's own account: {better, why}. */
  finish(judgment, actions = [], known = undefined) {
    this.judgment = judgment;
    this.replies = judgment.opinions.map((opinion) => ({ order: opinion.order, text: opinion.reply, opinion }));
    this.verdict.replaceChildren(...this.#outcome(judgment), known ? truth(judgment, known) : "", facts(judgment), h("div", { class: "actions", hidden: !actions.length }, actions));
    this.verdict.className = `card verdict ${judgment.winner ? `side-${this.names[judgment.winner]}` : "none"}`;
    this.#draw();
    say(this.verdict.querySelector(".headline").textContent + " " + (this.verdict.querySelector(".plain")?.textContent ?? ""));
  }

  /** Show that there will be no judgment; the text so far stays. */
  fail(message) {
    this.judgment = {};
    this.#draw();
    this.verdict.className = "card verdict none";
    this.verdict.replaceChildren(h("p", { class: "eyebrow" }, "No judgment"), h("p", { class: "headline", role: "alert" }, message));
  }

  #draw() {
    const present = this.replies.filter(Boolean);
    if (!this.judgment) {
      const writing = present.find((reply) => reply.text && structure(reply.text).stage !== "done") ?? present.findLast((reply) => reply.text);
      this.#waiting(writing ? STAGES[structure(writing.text).stage] : "Waiting for the judge");
    }
    const many = present.length > SHOWN_BESIDE;
    this.votes.hidden = !many;
    if (many) this.#tabs(present);
    const shown = many ? [present[Math.min(this.chosen, present.length - 1)]] : present;
    shown.forEach((reply) => (reply.view ??= new ReplyView(reply, this.names)).update(reply));
    const nodes = shown.map((reply) => reply.view.node);
    if (nodes.some((node, i) => this.columns.children[i] !== node) || this.columns.children.length !== nodes.length) {
      this.columns.replaceChildren(...nodes);
    }
    this.columns.dataset.count = nodes.length;
    this.#quotes(shown);
  }

  #quotes(shown) {
    const quotes = { A: [], B: [] };
    for (const { view } of shown) for (const quote of view.quotes) if (!quotes[quote.side].includes(quote.text)) quotes[quote.side].push(quote.text);
    const signature = JSON.stringify(quotes);
    if (signature !== this.quoted) this.onquotes?.(quotes);
    this.quoted = signature;
  }

  #tabs(present) {
    const choose = (i) => {
      this.chosen = (i + present.length) % present.length;
      this.#draw();
      this.votes.children[this.chosen].focus();
    };
    const keys = { ArrowRight: 1, ArrowLeft: -1 };
    const tab = (reply, i) => {
      const winner = reply.opinion ? reply.opinion.outcome.winner : undefined;
      return h("button", {
        type: "button", role: "tab", class: winner ? `vote side-${this.names[winner]}` : "vote", "aria-selected": String(i === this.chosen),
        tabindex: i === this.chosen ? "0" : "-1", onclick: () => choose(i),
        onkeydown: (event) => event.key in keys && choose(this.chosen + keys[event.key]),
      }, winner ? this.names[winner] : reply.opinion ? "–" : "…");
    };
    this.votes.replaceChildren(...present.map(tab));
  }

  #waiting(what) {
    if (this.waitingFor === what) return;
    this.waitingFor = what;
    this.verdict.className = "card verdict waiting";
    this.verdict.replaceChildren(h("p", { class: "eyebrow" }, "Judging"), h("p", { class: "headline" }, what, h("span", { class: "dots", "aria-hidden": "true" }), this.clock));
    say(what);
  }

  #outcome(judgment) {
    const { outcome } = judgment;
    if (!judgment.winner) {
      return [
        h("p", { class: "eyebrow" }, "No verdict"),
        h("p", { class: "headline" }, REASONS[outcome.reason] ?? outcome.reason),
        h("p", { class: "plain" }, outcome.detail ? `${capital(outcome.detail).replace(/\.$/, "")}. ` : "", "That is not a tie and not a score: there is no probability."),
      ];
    }
    return [
      h("p", { class: "eyebrow" }, "Verdict"),
      h("p", { class: "headline" },
        h("span", { class: "letter big" }, this.names[judgment.winner]), " is better ",
        h("span", { class: "surely" }, surely(judgment.probability_a))),
      h("p", { class: "plain" }, this.#plain(judgment), how(judgment)),
      axis(judgment, this.names),
    ];
  }

  /** The result of the two orders, in a sentence. */
  #plain(judgment) {
    const orders = { ab: [], ba: [] };
    for (const { order, outcome } of judgment.opinions) orders[order].push(outcome);
    if (judgment.opinions.length > SHOWN_BESIDE) {
      const votes = judgment.opinions.filter(({ outcome }) => outcome.winner === judgment.winner).length;
      return `${votes} of ${judgment.opinions.length} votes are for ${this.names[judgment.winner]}.`;
    }
    if (judgment.order_consistent === true) return "Both orders agree: it stays the same whichever response is read first.";
    if (judgment.order_consistent === false) {
      const says = (order, first) => `with ${this.names[first]} first, ${this.names[orders[order][0].winner]} wins (${surely(orders[order][0].probability_a)})`;
      return `The two orders disagree: ${says("ab", "A")}; ${says("ba", "B")}. The average decides, but the place of a response has swayed this judge.`;
    }
    if (judgment.opinions.length < 2) return `Read in one order only, ${this.names.A} first.`;
    return "Only one of the two orders gave a verdict.";
  }
}

/** How the verdict was read, where that is not from the judge's own answer. */
function how({ outcome, opinions }) {
  if (opinions.every(({ usage }) => usage.completion_tokens <= 1)) return " It was read at a glance: the judge wrote no reasoning.";
  if (outcome.source === "forced") return " A reply ended without an answer, so its answer was forced by one token.";
  return "";
}

/** One reply of the judge as a column that grows. */
class ReplyView {
  constructor({ order }, names) {
    this.order = order;
    this.names = names;
    this.quotes = [];
    const [first, second] = order === "ab" ? ["A", "B"] : ["B", "A"];
    const parts = ["head", "thinking", "type", "rubric", "solution", "evaluation", "rest"];
    const nodes = parts.map((part) => h("div", { class: `part ${part}` }));
    this.slots = Object.fromEntries(parts.map((part, i) => [part, slot(nodes[i])]));
    const renamed = names[first] !== "A" || names[second] !== "B";
    this.note = renamed && `In this reply, the judge's “A” is ${names[first]} and its “B” is ${names[second]}.`;
    this.title = `Read with ${names[first]} first`;
    this.raw = h("pre", {});
    this.node = h("article", { class: "card reply", "aria-label": `Reply with ${names[first]} read first, then ${names[second]}` }, nodes,
      h("details", { class: "raw" }, h("summary", {}, "As written"), this.raw));
  }

  update({ text, opinion }) {
    const parts = structure(text);
    const reading = opinion?.reading;
    const rubric = reading?.rubric ?? parts.rubric;
    const evaluation = reading?.evaluation ?? parts.evaluation;
    const live = !opinion;
    this.begun = text !== "";
    this.raw.textContent = text;
    this.slots.head(`${Boolean(opinion)} ${this.begun} ${parts.stage}`, () => this.#head(parts, opinion));
    this.slots.thinking(parts.thinking ?? "", () => parts.thinking && h("details", { open: live && parts.stage === "thinking" }, h("summary", {}, "Thinking"), h("p", { class: "prose" }, parts.thinking)));
    this.slots.type(parts.type ?? "", () => parts.type && titled("Kind of task", h("span", { class: "chip" }, parts.type === "chat" ? "Chat: judged by a rubric" : "Reasoning: judged by a solution")));
    this.slots.rubric(JSON.stringify(rubric ?? ""), () => rubric && titled("Rubric", criteria(rubric)));
    this.slots.solution(parts.solution ?? "", () => parts.solution && titled("The judge's own solution", h("pre", { class: "prose mono" }, parts.solution)));
    this.slots.evaluation(`${Boolean(reading)} ${evaluation ?? ""}`, () => evaluation && titled("Evaluation", [this.note && h("p", { class: "told" }, this.note), this.#evaluation(evaluation, reading?.quotes ?? [])]));
    const bare = !rubric && !parts.solution && !evaluation && !parts.type;
    this.slots.rest(bare ? parts.rest ?? "" : "", () => bare && parts.rest && h("p", { class: "prose" }, parts.rest));
  }

  #head(parts, opinion) {
    const outcome = opinion?.outcome;
    const verdict = outcome?.winner
      ? h("span", { class: `says side-${this.names[outcome.winner]}` }, h("span", { class: "letter" }, this.names[outcome.winner]), surely(outcome.probability_a))
      : h("span", { class: outcome ? "says none" : "says live" }, outcome ? "no verdict" : this.begun ? STAGES[parts.stage].toLowerCase() : "waiting");
    return [h("h3", {}, this.title), verdict, outcome && !outcome.winner && h("p", { class: "plain" }, REASONS[outcome.reason])];
  }

  #evaluation(evaluation, quotes) {
    const missing = new Set(quotes.filter(({ in_response }) => in_response === false).map(({ side, text }) => side + bare(text)));
    const all = pieces(evaluation, this.order);
    this.quotes = all.filter((piece) => piece.kind === "quote" && piece.text);
    return h("div", { class: "prose evaluation-text" }, all.map((piece) => {
      if (!piece.kind) return piece.text;
      const name = this.names[piece.side];
      const props = { class: `${piece.kind} side-${name}`, title: `${piece.kind === "quote" ? "quoted from" : "summary of"} ${name}` };
      const label = h("span", { class: "letter", "aria-hidden": "true" }, name);
      if (piece.kind === "quote" && missing.has(piece.side + bare(piece.text))) {
        return h("span", { ...props, class: `${props.class} missing` }, label, piece.text, h("span", { class: "not-there" }, ` not in ${name}`));
      }
      if (piece.kind === "summary") return h("span", props, label, piece.text);
      return h("a", { ...props, href: "#", onclick: (event) => jump(event, piece, name) }, label, piece.text);
    }));
  }
}

function jump(event, piece, name) {
  event.preventDefault();
  const response = document.querySelector(`.response.side-${name}`);
  const mark = [...(response?.querySelectorAll("mark") ?? [])].find((node) => piece.text.includes(node.textContent.trim())) ?? response?.querySelector("mark");
  if (!mark) return;
  mark.scrollIntoView({ block: "center", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  mark.classList.remove("flash");
  requestAnimationFrame(() => mark.classList.add("flash"));
}

const titled = (title, node) => [h("h4", {}, title), node];

const capital = (text) => text[0].toUpperCase() + text.slice(1);

const STAGES = { reading: "Reading", thinking: "Thinking", criteria: "Writing the criteria", solving: "Solving the task itself", comparing: "Comparing", done: "Decided" };

function criteria({ items, justification, text }) {
  const rows = items.map(({ text: criterion, weight }) =>
    h("li", {},
      h("span", { class: "criterion" }, criterion),
      weight !== null && h("span", { class: "weight" }, percent(weight)),
      weight !== null && h("span", { class: "bar", "aria-hidden": "true" }, h("span", { vars: { "--share": Math.min(1, weight) } }))));
  return [
    rows.length ? h("ol", { class: "criteria" }, rows) : h("p", { class: "prose" }, text),
    justification && h("p", { class: "justification" }, h("b", {}, "Why these: "), justification),
  ];
}

/** The cost of the judgment, and the judge that made it. */
function facts(judgment) {
  const { usage } = judgment;
  const all = [
    judgment.cached ? ["Cached", "asked before", "cached"] : ["Time", seconds(judgment.seconds)],
    ["Tokens", `${count(usage.prompt_tokens)} read, ${count(usage.completion_tokens)} written`],
    usage.cached_tokens > 0 && ["Prefix cache", plural(usage.cached_tokens, "token")],
    judgment.model && ["Model", judgment.model],
    judgment.weight_version && ["Weights", judgment.weight_version],
    judgment.prompt_digest && ["Prompts", judgment.prompt_digest],
  ].filter(Boolean);
  return h("dl", { class: "facts" }, all.map(([name, value, kind]) => h("div", { class: kind }, h("dt", {}, name), h("dd", {}, value))));
}

/** Whether the judgment of an example is right, and why. */
function truth({ winner }, { better, why }) {
  const outcome = winner === better ? "Right" : winner ? "Wrong" : "Known";
  return h("p", { class: `known ${outcome.toLowerCase()}` }, h("strong", {}, `${outcome}: ${better} is better,`), ` ${why}.`);
}
