// The newest judgments of this gateway: a search, filters, and statistics.

import { get } from "./api.js";
import { histogram, trend } from "./charts.js";
import { $, h } from "./dom.js";
import { keyForm } from "./key.js";
import { REASONS, ago, count, percent, plural, seconds, surely } from "./words.js";

const EVERY_MS = 2000;
const PAGE = 50;
const FILTERS = ["q", "run", "subset", "outcome"];

let timer = null;
let shown = PAGE;

/** Show the page and keep it fresh until `leave`. */
export function enter() {
  for (const name of FILTERS) $(`recent-${name}`).oninput = () => refresh();
  $("recent-disagree").onchange = () => refresh();
  $("recent-more").onclick = () => {
    shown += PAGE;
    refresh();
  };
  refresh();
}

export function leave() {
  clearTimeout(timer);
  shown = PAGE;
}

async function refresh() {
  clearTimeout(timer);
  const query = new URLSearchParams({ limit: shown });
  for (const name of FILTERS) if ($(`recent-${name}`).value.trim()) query.set(name, $(`recent-${name}`).value.trim());
  if ($("recent-disagree").checked) query.set("disagree", "true");
  try {
    if (document.visibilityState === "visible") draw(await get(`v1/recent?${query}`));
  } catch (error) {
    if (error.status === 401) return $("recent-list").replaceChildren(keyForm(refresh));
    $("recent-list").replaceChildren(h("p", { class: "error", role: "alert" }, error.message));
  }
  clearTimeout(timer);
  if (!$("view-recent").hidden) timer = setTimeout(refresh, EVERY_MS);
}

function draw(results) {
  choices($("recent-run"), results.runs, "All runs");
  choices($("recent-subset"), results.subsets, "All subsets");
  choices($("recent-outcome"), ["A", "B", ...results.reasons], "Any outcome", (value) => (value.length === 1 ? `${value} better` : value.replaceAll("_", " ")));
  const { matching, rate_per_s, rate_over_s, cached, no_verdict, consistent, both_orders } = results;
  $("recent-tiles").replaceChildren(
    tile("Judgments", count(matching), `of the latest ${count(results.kept)}`),
    tile("Per second", rate_per_s.toFixed(rate_per_s < 10 ? 1 : 0), rate_over_s < 60 ? `over the last ${plural(Math.round(rate_over_s), "second")}` : "over the last minute"),
    tile("From cache", matching ? percent(cached / matching) : "–", ""),
    tile("No verdict", matching ? percent(no_verdict / matching, 1) : "–", ""),
    tile("Orders agree", both_orders ? percent(consistent / both_orders, 1) : "–", both_orders ? `of ${count(both_orders)} in both orders` : ""));
  $("recent-histogram").replaceChildren(histogram(results.histogram));
  $("recent-trend").replaceChildren(trend(results.trend));
  const focused = document.activeElement?.dataset?.id;
  $("recent-list").replaceChildren(results.items.length ? table(results.items) : h("p", { class: "empty" }, results.kept ? "Nothing matches." : "Nothing has been judged yet."));
  if (focused) document.querySelector(`#recent-list [data-id="${CSS.escape(focused)}"]`)?.focus();
  $("recent-more").hidden = results.items.length >= matching;
}

function choices(select, values, all, name = (value) => value) {
  const signature = JSON.stringify(values);
  if (select.dataset.values === signature) return;
  const chosen = select.value;
  select.dataset.values = signature;
  select.replaceChildren(h("option", { value: "" }, all), ...values.map((value) => h("option", { value }, name(value))));
  select.value = values.includes(chosen) ? chosen : "";
}

const tile = (name, value, note) => h("div", { class: "tile" }, h("dt", {}, name), h("dd", {}, value), note && h("dd", { class: "note" }, note));

function table(items) {
  const head = ["When", "Run", "Question", "Verdict", "Orders", "Tokens", "Time"];
  return h("table", { class: "list" },
    h("caption", { class: "sr" }, "Recent judgments, newest first"),
    h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, items.map(row)));
}

function row(item) {
  const verdict = item.winner
    ? h("span", { class: `says side-${item.winner}` }, h("span", { class: "letter" }, item.winner), surely(item.probability_a))
    : h("span", { class: "says none", title: REASONS[item.reason] }, item.reason.replaceAll("_", " "));
  const orders = { true: h("span", { class: "agree" }, "agree"), false: h("span", { class: "disagree" }, "disagree") }[item.order_consistent] ?? "–";
  return h("tr", {},
    h("td", { class: "dim" }, ago(item.at)),
    h("td", { class: "dim" }, [item.run, item.subset].filter(Boolean).join(" / ") || "–"),
    h("td", { class: "question-cell" }, h("a", { href: `#/j/${item.id}`, "data-id": item.id }, item.question)),
    h("td", {}, verdict),
    h("td", {}, orders),
    h("td", { class: "number" }, item.cached ? "cached" : count(item.tokens)),
    h("td", { class: "number" }, seconds(item.seconds)));
}
