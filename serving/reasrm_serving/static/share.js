// Sharing a judgment: as a link, as curl, as Python, as JSON. Only the name of an API key's variable is shared, never the key.

import { hasToken } from "./api.js";

const LONGEST_LINK = 16000; // characters; chats and mail programs cut longer links
const MOST_BYTES = 1_000_000; // of texts in a link: a few kilobytes of it can hold a hundred times as much
const MOST_TURNS = 100;

/** The bytes after `transform`. Throws a RangeError beyond `most` of them, before they are all there. */
async function through(bytes, transform, most = Infinity) {
  const chunks = [];
  let size = 0;
  const reader = new Blob([bytes]).stream().pipeThrough(transform).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > most) {
      reader.cancel();
      throw new RangeError("This link holds more text than the page can show.");
    }
    chunks.push(value);
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

/** The request itself, compressed into the link's fragment: the gateway need not have kept it, and no log sees it. */
export async function pack(state) {
  const bytes = await through(new TextEncoder().encode(JSON.stringify(state)), new CompressionStream("deflate-raw"));
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** What `pack` packed; throws a RangeError for what is too large for the page, another error for anything else. */
export async function unpack(text) {
  if (text.length > MOST_BYTES) throw new RangeError("This link holds more text than the page can show.");
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = await through(Uint8Array.from(binary, (c) => c.charCodeAt(0)), new DecompressionStream("deflate-raw"), MOST_BYTES);
  const request = JSON.parse(new TextDecoder().decode(bytes));
  const { question, a, b, responses = [a, b] } = request;
  if ([question, ...responses].some((text) => typeof text !== "string" && !(Array.isArray(text) && text.length))) throw new Error("no text");
  if ([question, ...responses].some((text) => Array.isArray(text) && text.length > MOST_TURNS)) throw new RangeError("This link holds more turns than the page can show.");
  return request;
}

const page = () => location.href.split("#")[0];

/** A link to the judgment of `request`; `id` names it in the gateway's memory, for texts too long for a link. */
export async function link(request, id) {
  const whole = `${page()}#/r/${await pack(request)}`;
  return whole.length > LONGEST_LINK && id ? `${page()}#/j/${id}` : whole;
}

const route = (request) => (request.responses ? "v1/rank" : "v1/judge");

export function asCurl(request) {
  const body = JSON.stringify(request, null, 2).replaceAll("'", "'\\''");
  const key = hasToken() ? ' -H "authorization: Bearer $REASRM_TOKEN"' : "";
  return `curl -s ${new URL(route(request), page())}${key} -H 'content-type: application/json' -d '${body}'`;
}

export function asPython(request) {
  const { question, a, b, responses, ...options } = request;
  const first = responses ? { question, responses } : { question, a, b };
  const lines = Object.entries({ ...first, ...options }).map(([name, value]) => `        ${name}=${python(value)},`);
  const key = hasToken();
  return [
    ...(key ? ["import os", ""] : []),
    "from reasrm import SyncJudge",
    "",
    `with SyncJudge(${python(page().replace(/\/$/, ""))}${key ? ', token=os.environ["REASRM_TOKEN"]' : ""}) as judge:`,
    `    ${responses ? "ranking" : "judgment"} = judge.${responses ? "rank" : "pair"}(`,
    ...lines,
    "    )",
    responses ? "print(ranking.rewards)" : "print(judgment.winner, judgment.probability_a)",
  ].join("\n");
}

function python(value) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([k, v]) => `${python(k)}: ${python(v)}`).join(", ")}}`;
  return JSON.stringify(value); // texts and numbers have the same form in both languages
}

/** Put `text` on the clipboard; where the browser forbids it (plain http on another host), by way of a selection. */
export async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "offstage";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
