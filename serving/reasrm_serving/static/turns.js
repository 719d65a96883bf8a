// One field of the form: a text, or a conversation of several turns. It is written in, and read with what a judge quoted marked.

import { h } from "./dom.js";
import { marked } from "./highlight.js";

const ROLES = { user: ["user", "assistant", "tool", "system"], assistant: ["assistant", "tool", "user"] };

export class Turns {
  /** `role` is the role of a single text; `name` is the field's label. */
  constructor(role, name, placeholder) {
    Object.assign(this, { role, name, placeholder });
    this.turns = [{ role, content: "" }];
    this.several = false;
    this.writing = h("div", { class: "writing" });
    this.reading = h("div", {
      class: "reading", tabindex: "0", role: "region", "aria-label": `${name}, as judged`, title: "Click to edit",
      onclick: () => getSelection().isCollapsed && this.onedit?.(),
      onkeydown: (event) => event.key === "Enter" && !event.ctrlKey && !event.metaKey && this.#edit(event),
    });
    this.toggle = h("button", { type: "button", class: "quiet", "aria-pressed": "false", onclick: () => this.#switch() }, "Several turns");
    this.node = h("div", { class: "field" }, this.writing, this.reading);
    this.#draw();
  }

  /** As requests have it: a string, or messages. */
  get value() {
    if (!this.several) return this.turns[0].content;
    return this.turns.map(({ role, content, ...rest }) => ({ role, content, ...rest }));
  }

  set value(value) {
    this.several = typeof value !== "string";
    this.turns = this.several ? value.map((turn) => ({ content: "", ...turn })) : [{ role: this.role, content: value }];
    this.#draw();
  }

  get empty() {
    return this.turns.every((turn) => !turn.content.trim() && !turn.tool_calls?.length);
  }

  focus() {
    this.writing.querySelector("textarea").focus();
  }

  /** Show the text with `quotes` marked; `side` colours the marks, `anchor` names them for links. */
  show(quotes, side, anchor) {
    this.reading.replaceChildren(
      ...this.turns.map((turn) =>
        h("div", { class: "turn-read" },
          this.several && h("span", { class: "role" }, turn.role),
          ...calls(turn).map((call) => h("code", { class: "call" }, call)),
          ...marked(turn.content, quotes).map(({ text, marks }) =>
            marks.length ? h("mark", { class: `quoted side-${side}`, "data-quotes": marks.map((i) => `${anchor}${i}`).join(" ") }, text) : text),
        )),
    );
  }

  #edit(event) {
    event.preventDefault(); // else the key would write a line into the text
    this.onedit?.();
  }

  #switch() {
    this.several = !this.several;
    if (!this.several) this.turns = [{ role: this.role, content: this.turns.map((turn) => turn.content).filter(Boolean).join("\n\n") }];
    this.#draw();
    this.focus();
  }

  #draw() {
    this.toggle.setAttribute("aria-pressed", String(this.several));
    this.toggle.setAttribute("aria-label", `${this.name}: several turns`);
    if (!this.several) {
      this.writing.replaceChildren(this.#textarea(this.turns[0], this.name, this.placeholder));
      return;
    }
    const next = this.turns.at(-1).role === "user" ? "assistant" : "user";
    const add = () => {
      this.turns.push({ role: next, content: "" });
      this.#draw();
      [...this.writing.querySelectorAll("textarea")].at(-1).focus();
    };
    this.writing.replaceChildren(
      ...this.turns.map((turn, i) => this.#turn(turn, i)),
      h("button", { type: "button", class: "quiet add-turn", onclick: add }, "+ turn"),
    );
  }

  #turn(turn, i) {
    const label = `${this.name}, turn ${i + 1}`;
    const role = h("select", { "aria-label": `${label}: who speaks`, onchange: (event) => (turn.role = event.target.value) },
      ROLES[this.role].map((role) => h("option", { value: role }, role)));
    role.value = turn.role;
    const remove = () => {
      this.turns.splice(i, 1);
      this.#draw();
    };
    return h("div", { class: "turn" },
      h("div", { class: "turn-head" }, role,
        this.turns.length > 1 && h("button", { type: "button", class: "quiet", "aria-label": `remove ${label}`, onclick: remove }, "×")),
      ...calls(turn).map((call) => h("code", { class: "call" }, call)),
      this.#textarea(turn, label, ""));
  }

  #textarea(turn, label, placeholder) {
    const grow = (event) => (turn.content = event.target.value);
    return h("textarea", { rows: this.role === "user" ? 2 : 5, "aria-label": label, placeholder, value: turn.content, spellcheck: "false", oninput: grow });
  }
}

const calls = (turn) => (turn.tool_calls ?? []).map((call) => `${call.name}(${call.arguments ?? ""})`);
