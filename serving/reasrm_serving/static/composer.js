// The form: a question, two to eight responses, and how to judge them.

import { $, h } from "./dom.js";
import { Turns } from "./turns.js";
import { LETTERS } from "./words.js";

const FEWEST = 2;
const MOST = LETTERS.length;
/** The options of a request, by the id of their field: what is empty or at its default is not sent. */
const OPTIONS = { orders: "both", votes: "1", temperature: "0", max_tokens: "", seed: "0", rubric: "", method: "", reasoning: "" };

export class Composer {
  /** `reshaped` is called when responses have come, gone or changed places: their result is outdated then. */
  constructor(reshaped) {
    this.reshaped = reshaped;
    this.question = new Turns("user", "Question", "What was asked?");
    $("question-head").append(this.question.toggle);
    $("question").append(this.question.node);
    this.#editable(this.question);
    this.responses = [];
    for (let i = 0; i < FEWEST; i++) this.add();
    $("add").onclick = () => {
      this.add().focus();
      this.read(false);
      this.reshaped();
    };
    $("swap").onclick = () => this.swap();
    $("edit").onclick = () => this.read(false);
    $("options").oninput = () => this.#countOptions();
  }

  get ranks() {
    return this.responses.length > FEWEST;
  }

  add() {
    const field = new Turns("assistant", `Response ${LETTERS[this.responses.length]}`, "What was answered?");
    this.responses.push(field);
    this.#editable(field);
    this.#draw();
    return field;
  }

  /** A text that was judged is written in again where somebody clicks it. */
  #editable(field) {
    field.onedit = () => {
      this.read(false);
      field.focus();
    };
  }

  /** Reverse the responses: A becomes B. */
  swap() {
    const values = this.responses.map((field) => field.value).reverse();
    this.responses.forEach((field, i) => (field.value = values[i]));
    this.read(false);
    this.reshaped();
  }

  /** The body of a request; raises an Error that says what is missing. */
  request() {
    if (this.question.empty) throw missing(this.question, "Ask a question first.");
    const empty = this.responses.find((field) => field.empty);
    if (empty) throw missing(empty, `${empty.name} is empty.`);
    const texts = this.responses.map((field) => field.value);
    const request = { question: this.question.value, ...(this.ranks ? { responses: texts } : { a: texts[0], b: texts[1] }) };
    for (const [name, usual] of Object.entries(OPTIONS)) {
      const value = $(name).value.trim();
      if (value === "" || (value === usual && !(name === "orders" && this.ranks)) || (name === "method" && !this.ranks)) continue;
      request[name] = /^[\d.]+$/.test(value) && name !== "rubric" ? Number(value) : value;
    }
    return request;
  }

  /** Fill the form with a request. */
  load(request) {
    const { question, a, b, responses = [a, b], ...options } = request;
    this.question.value = question;
    while (this.responses.length < Math.min(MOST, responses.length)) this.add();
    this.responses.length = Math.max(FEWEST, Math.min(MOST, responses.length));
    this.responses.forEach((field, i) => (field.value = responses[i] ?? ""));
    for (const [name, usual] of Object.entries(OPTIONS)) $(name).value = options[name] ?? usual;
    this.#countOptions();
    this.read(false);
    this.#draw();
  }

  /** Show the texts for reading, or for writing. */
  read(on) {
    $("form").classList.toggle("as-read", on);
    $("edit").hidden = !on;
    if (on) [this.question, ...this.responses].forEach((field) => field.show([], "none", ""));
    else this.crown([]);
  }

  /** Mark in the responses what was quoted: `quotes[i]` are the texts quoted from response `i`. */
  mark(quotes) {
    quotes.forEach((texts, i) => this.responses[i].show(texts, LETTERS[i], LETTERS[i]));
  }

  /** Put a mark on the winner, or on all that share the first place; an empty list takes it off. */
  crown(winners) {
    this.cards.forEach((card, i) => {
      card.classList.toggle("wins", winners.includes(i));
      card.querySelector(".wins-word").textContent = winners.length > 1 ? "shared first" : "better";
    });
  }

  /** Show how many options differ from their defaults, since they are mostly hidden. */
  #countOptions() {
    const changed = Object.entries(OPTIONS).filter(([name, usual]) => $(name).value.trim() !== usual).length;
    $("options-word").textContent = changed ? `Options (${changed} changed)` : "Options";
  }

  #draw() {
    this.cards = this.responses.map((field, i) => {
      field.name = `Response ${LETTERS[i]}`;
      field.value = field.value; // its label follows its place
      const remove = () => {
        this.responses.splice(i, 1);
        this.#draw();
        this.reshaped();
      };
      return h("section", { class: `card response side-${LETTERS[i]}` },
        h("header", { class: "card-head" },
          h("h2", {}, h("span", { class: "sr" }, "Response "), h("span", { class: "letter" }, LETTERS[i]), h("span", { class: "wins-word" }, "better")),
          field.toggle,
          this.responses.length > FEWEST && h("button", { type: "button", class: "quiet", "aria-label": `remove response ${LETTERS[i]}`, onclick: remove }, "×")),
        field.node);
    });
    $("responses").replaceChildren(...this.cards);
    $("responses").dataset.count = this.responses.length;
    $("add").hidden = this.responses.length >= MOST;
    $("judge-word").textContent = this.ranks ? `Rank ${this.responses.length}` : "Judge";
    for (const part of document.querySelectorAll(".only-ranks")) part.hidden = !this.ranks;
    for (const part of document.querySelectorAll(".only-pairs")) part.hidden = this.ranks;
  }
}

function missing(field, message) {
  field.focus();
  return new Error(message);
}
