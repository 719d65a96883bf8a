// Making nodes. Text becomes text nodes and nothing else: no string ever reaches the page as markup.

const SVG = "http://www.w3.org/2000/svg";

function dress(node, props) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "vars") for (const [key, share] of Object.entries(value)) node.style.setProperty(key, share);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  return node;
}

function fill(node, children) {
  node.append(...children.flat(3).filter((child) => child !== undefined && child !== null && child !== false && child !== ""));
  return node;
}

/** An element; children are nodes, texts, or lists of them. */
export const h = (tag, props = {}, ...children) => fill(dress(document.createElement(tag), props), children);

/** An SVG element. */
export const s = (tag, props = {}, ...children) => fill(dress(document.createElementNS(SVG, tag), props), children);

/** A section whose content is replaced only when `signature` changes, so that what is open or selected stays so. */
export function slot(node) {
  let last = null;
  return (signature, make) => {
    if (signature === last) return;
    last = signature;
    node.replaceChildren(...[make()].flat(3).filter(Boolean));
  };
}

/** Seconds that one judgment takes here, where that is known; said beside a clock if it is long. */
let pace = 0;
const LONG_S = 5;

export function expect(seconds) {
  pace = seconds ?? pace;
}

/** A span that counts the seconds since it was made, until it leaves the page. */
export function clock() {
  const started = performance.now();
  const node = h("span", { class: "elapsed", role: "timer", "aria-live": "off" });
  const timer = setInterval(() => {
    if (!node.isConnected) return clearInterval(timer);
    const typical = pace < LONG_S ? "" : `; one judgment takes about ${Math.round(pace)} s here`;
    node.textContent = ` ${Math.round((performance.now() - started) / 1000)} s${typical}`;
  }, 1000);
  return node;
}

export const $ = (id) => document.getElementById(id);

/** Say something to screen readers. */
export function say(text) {
  $("said").textContent = text;
}

/** Show a short note at the foot of the page. */
export function toast(text) {
  const note = $("toast");
  note.textContent = text;
  note.hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => (note.hidden = true), 2600);
  say(text);
}
