// The page: which view is shown, and what Judge does.

import * as api from "./api.js";
import { Composer } from "./composer.js";
import { $, expect, h, say, toast } from "./dom.js";
import { JudgmentView } from "./judgment.js";
import { keyForm } from "./key.js";
import { LETTERS, plural } from "./words.js";

const composer = new Composer(forget);
let running = null; // the AbortController of the judging under way
let example = null; // the example in the form, with the side that is better and why
/** The other pages: each a module with `enter` and perhaps `leave`, loaded at the first visit. */
const PAGES = { recent: () => import("./recent.js"), api: () => import("./reference.js") };
let leave = null; // the cleanup of the current page, called when it is left

// --- judging --------------------------------------------------------------------------------------------------------------

async function judge() {
  let request;
  try {
    request = composer.request();
  } catch (error) {
    return complain(error);
  }
  running?.abort();
  const mine = (running = new AbortController());
  busy(true);
  try {
    await (request.responses ? rank(request, mine.signal) : stream(request, mine.signal));
  } catch (error) {
    if (error.name !== "AbortError") complain(error);
    else if (running === mine) $("result").replaceChildren();
  } finally {
    if (running === mine) {
      running = null;
      busy(false);
    }
  }
}

function viewPair(orders) {
  beginReading();
  return new JudgmentView($("result"), { A: "A", B: "B" }, (quotes) => composer.mark([quotes.A, quotes.B]), orders);
}

/** Mark the result as outdated: it belongs to other texts than those in the form. */
function forget() {
  running?.abort();
  fresh();
  $("result").replaceChildren();
}

function beginReading() {
  fresh();
  composer.crown([]);
  composer.read(true);
}

/** Mark the result as current: from now on it belongs to the texts in the form. */
function fresh() {
  $("result").classList.remove("stale");
}

async function stream(request, signal) {
  const orders = request.orders === "ab" ? ["ab"] : ["ab", "ba"];
  const view = viewPair(request.votes > 1 ? [] : orders);
  comeIntoSight($("result"));
  let begun = false;
  try {
    for await (const [event, data] of api.judged(request, signal)) {
      begun = true;
      if (event === "delta") view.delta(data);
      else show(view, request, data);
    }
    if (!view.judgment) throw new Error("The connection broke before the verdict.");
  } catch (error) {
    if (!begun) throw error;
    view.fail(signal.aborted ? "Stopped." : messageOf(error));
  }
}

function show(view, request, judgment) {
  if (!judgment.cached) expect(judgment.seconds);
  view.finish(judgment, actions(request, judgment), known(request));
  composer.crown(judgment.winner ? ["AB".indexOf(judgment.winner)] : []);
}

/** The better side of an example and why, also after its sides were swapped; nothing for texts that were changed. */
function known(request) {
  if (!example?.better || JSON.stringify(request.question) !== example.question) return undefined;
  const [a, b] = [request.a, request.b].map((text) => JSON.stringify(text));
  if (a === example.a && b === example.b) return example;
  return a === example.b && b === example.a ? { better: example.better === "A" ? "B" : "A", why: example.why } : undefined;
}

async function rank(request, signal) {
  const { RankingView, leaders } = await import("./ranking.js");
  beginReading();
  const view = new RankingView($("result"), request.responses.length, (quotes) => composer.mark(quotes));
  comeIntoSight($("result"));
  const ranking = await api.rank(request, signal);
  view.finish(ranking, actions(request, ranking));
  composer.crown(leaders(ranking));
}

function busy(on) {
  const [shown, hidden] = on ? [$("stop"), $("judge")] : [$("judge"), $("stop")];
  const focused = [hidden, document.body].includes(document.activeElement); // a button that is hidden drops the focus
  shown.hidden = false;
  hidden.hidden = true;
  if (on || focused) shown.focus({ preventScroll: true });
}

function complain(error) {
  composer.read(false);
  fresh();
  const message = error.status === 429 ? `${error.message}. Try again in a moment.` : messageOf(error);
  $("result").replaceChildren(error.status === 401 ? keyForm(enterWithKey) : h("div", { class: "card error", role: "alert" }, message));
}

function enterWithKey() {
  model().catch(() => {});
  if (location.hash.length < 3) judge();
  else route();
}

/** `fetch` throws a TypeError if no server answers. */
const messageOf = (error) => (error instanceof TypeError ? "The gateway does not answer. Is it still running?" : error.message);

function actions(request, result) {
  const taking = (name, what, make) => h("button", { type: "button", onclick: async () => {
    const share = await import("./share.js");
    await share.copy(await make(share));
    toast(`${what} copied`);
  } }, name);
  return [
    taking("Copy link", "Link", (share) => share.link(request, result.id)),
    taking("curl", "curl command", (share) => share.asCurl(request)),
    taking("Python", "Python", (share) => share.asPython(request)),
    taking("JSON", "JSON", () => JSON.stringify(result, null, 2)),
  ];
}

function comeIntoSight(node) {
  if (node.getBoundingClientRect().top > innerHeight * 0.7) {
    node.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  }
}

// --- where in the page we are: #/, #/recent, #/api, #/j/ID (kept by the gateway), #/r/REQUEST (the request itself) ---------------------

async function route() {
  const [, place = "", rest = ""] = /^#\/(\w*)\/?(.*)$/.exec(location.hash) ?? [];
  const shown = place in PAGES ? place : "judge";
  for (const name of ["judge", ...Object.keys(PAGES)]) $(`view-${name}`).hidden = name !== shown;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === (shown === "judge" ? "#/" : `#/${shown}`)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  leave?.();
  leave = null;
  if (rest) forget();
  if (shown !== "judge") {
    const page = await PAGES[shown]();
    leave = page.leave;
    await page.enter();
  } else if (place === "j") await openKept(rest);
  else if (place === "r") await openRequest(rest);
}

async function openKept(id) {
  try {
    const { request, judgment } = await api.get(`v1/judgments/${encodeURIComponent(id)}`);
    composer.load(request);
    show(viewPair(), request, judgment);
  } catch (error) {
    complain(error);
  }
}

async function openRequest(packed) {
  let request;
  try {
    request = await (await import("./share.js")).unpack(packed);
    composer.load(request);
  } catch (error) {
    return complain(error instanceof RangeError ? error : new Error("This link is damaged: part of it is missing."));
  }
  try {
    if (request.responses) return await judge(); // its comparisons are in the gateway's cache, if it was ranked lately
    const judgment = await api.kept(request);
    if (judgment) show(viewPair(), request, judgment);
    else toast("Press Judge to judge this again");
  } catch (error) {
    complain(error);
  }
}

// --- the rest of the page -------------------------------------------------------------------------------------------------

/** The embedded judge knows its generated world and nothing else; any other judge gets questions of people. */
async function examples() {
  const world = document.body.dataset.world === "on";
  $("about").hidden = !world;
  const all = await api.get(world ? "static/examples.json" : "static/examples_general.json");
  $("examples").replaceChildren(...all.map((shown) =>
    h("button", { type: "button", class: "example", onclick: () => {
      load(shown);
      forget();
      history.replaceState(null, "", "#/");
      say(`Example ${shown.name}`);
      $("judge").focus({ preventScroll: true });
    } }, shown.name)));
  if (location.hash.length < 3) load(all[0]);
}

/** Fill the form with an example. */
function load({ request, better, why }) {
  composer.load(request);
  const [question, a, b] = ["question", "a", "b"].map((part) => JSON.stringify(composer.request()[part]));
  example = { question, a, b, better, why };
}

/** A few words on an engine, out of what the gateway found out about it. */
function engineOf({ abilities: { kind, version, slots, logprobs } }) {
  return [kind, version, slots && plural(slots, "slot"), logprobs === false && "no log-probabilities"].filter(Boolean).join(" ");
}

async function model() {
  const { data } = await api.get("v1/models");
  $("model").textContent = data[0].id;
  $("model").title = `weights ${data[0].weight_version}, prompts ${data[0].prompt_digest}, context ${data[0].max_context} tokens, ` +
    `engine ${data[0].engines.map(engineOf).join(", ")}`;
  expect(data[0].judgment_seconds);
  $("model").hidden = false;
}

function theme() {
  const wants = localStorage.getItem("reasrm-theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const set = (name) => {
    document.documentElement.dataset.theme = name;
    $("theme").setAttribute("aria-pressed", String(name === "dark"));
  };
  set(wants);
  $("theme").onclick = () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem("reasrm-theme", next);
    set(next);
  };
}

theme();
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  judge();
});
$("form").addEventListener("input", (event) => event.target.closest(".field") && $("result").querySelector(".verdict") && $("result").classList.add("stale"));
$("stop").onclick = () => running?.abort();
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !$("view-judge").hidden && !running) judge();
  if (event.key === "Escape") running?.abort();
});
addEventListener("hashchange", route);
if (navigator.platform.startsWith("Mac")) $("judge").querySelector("kbd").textContent = "⌘ ↵";
$("add").title = `up to ${LETTERS.length} responses`;
route();
examples().catch(() => {});
model().catch(() => {});
