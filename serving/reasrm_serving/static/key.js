// Asking for an API key, if the gateway requires one.

import { setToken } from "./api.js";
import { h } from "./dom.js";

/** A form for a key; `then` goes on with it. The key stays in this tab. */
export function keyForm(then) {
  const field = h("input", { type: "password", "aria-label": "API key", autocomplete: "off" });
  const use = (event) => {
    event.preventDefault();
    setToken(field.value.trim());
    then();
  };
  return h("div", { class: "card error", role: "alert" }, "This gateway wants an API key.",
    h("form", { class: "key", onsubmit: use }, field, h("button", { type: "submit" }, "Use for this tab")));
}
