// A reply, whole or half written, taken apart for showing. The gateway's own reading replaces this one when it is there;
// until then it follows the rules of reasrm/parsing.py.

const NAMES = { A: "B", B: "A" };

/** {thinking, type, rubric, solution, evaluation, answer, stage} of what is written so far. */
export function structure(reply) {
  const { thinking, open, body } = splitThinking(reply);
  if (open) return { thinking, stage: "thinking" };
  const text = body.replace(/<\/?[a-z_]*$/i, ""); // half a tag at the end
  const rubric = block(text, "rubric", ["eval", "answer"]);
  const parts = {
    thinking,
    type: /<type>\s*(chat|reasoning)\s*<\/type>/i.exec(text)?.[1].toLowerCase(),
    rubric: rubric === undefined ? undefined : readRubric(rubric),
    solution: block(text, "solution", ["eval", "answer"]),
    evaluation: block(text, "eval", ["answer"]),
    answer: /<answer>\s*\[\[\s*([AB])\s*\]\]/i.exec(text)?.[1].toUpperCase(),
    rest: text,
  };
  const stages = [["answer", "done"], ["evaluation", "comparing"], ["solution", "solving"], ["rubric", "criteria"], ["type", "reading"]];
  return { ...parts, stage: stages.find(([name]) => parts[name] !== undefined)?.[1] ?? "reading" };
}

function splitThinking(reply) {
  const end = reply.lastIndexOf("</think>");
  if (end >= 0) return { thinking: reply.slice(0, end).trim().replace(/^<think>/, "").trim(), body: reply.slice(end + 8) };
  if (/^\s*<think>/i.test(reply)) return { thinking: reply.replace(/^\s*<think>/i, ""), open: true, body: "" };
  return { body: reply };
}

function block(text, tag, before) {
  const opening = text.search(new RegExp(`<${tag}>`, "i"));
  if (opening < 0) return undefined;
  let region = text.slice(opening + tag.length + 2);
  const next = region.search(new RegExp(before.map((name) => `<${name}>`).join("|"), "i"));
  if (next >= 0) region = region.slice(0, next);
  const closing = region.toLowerCase().lastIndexOf(`</${tag}>`);
  if (closing >= 0) region = region.slice(0, closing);
  return region.replace(new RegExp(`</?${tag}>`, "gi"), "").trim();
}

function readRubric(text) {
  const justification = block(text, "justify", ["eval"]);
  const criteria = text.replace(/<justify>[\s\S]*/i, "").trim();
  const start = /^\s*(?:\d{1,4}\s{0,4}[.)]|[-*•])\s+/;
  const items = criteria.split("\n").filter((line) => start.test(line)).map((line) => readItem(line.replace(start, "")));
  return { items, justification, text: criteria };
}

const PERCENT = "(?<![\\d.,])(\\d{1,3}(?:\\.\\d{1,4})?)\\s{0,4}%";
const WORD = "(?:weight(?:ed|ing)?\\s{0,4}[:=]?\\s{0,4})";
/** A criterion's weight, the surest form first: in brackets, beside the word "weight", or bare at one end of the criterion's name. */
const WEIGHTS = [
  `[(\\[]\\s{0,4}${WORD}?${PERCENT}(?:\\s{0,4}weight)?\\s{0,4}[)\\]]`,
  `${WORD}${PERCENT}|${PERCENT}\\s{0,4}weight\\b`,
  `^${PERCENT}|${PERCENT}(?=\\s{0,4}:|\\s[–—-]\\s)|(?:(?<=[:=–—-])|(?<=[:=–—-]\\s))${PERCENT}$`,
].map((pattern) => new RegExp(pattern, "gi"));

/** A percentage inside of a sentence ("the 20% discount") is a part of the criterion. */
function readItem(line) {
  const plain = line.replaceAll("**", "").trim();
  for (const pattern of WEIGHTS) {
    const matches = [...plain.matchAll(pattern)];
    if (!matches.length) continue;
    const after = (match) => plain.slice(match.index + match[0].length);
    const weight = matches.find((match) => after(match).trimStart()[0] === ":") ?? matches.at(-1);
    return { text: joined(trimmed(plain.slice(0, weight.index)), trimmed(after(weight))), weight: Number(weight.slice(1).find(Boolean)) / 100 };
  }
  return { text: plain, weight: null };
}

function trimmed(text) {
  let [from, to] = [0, text.length];
  while (from < to && " :–-".includes(text[from])) from++;
  while (to > from && " :–-".includes(text[to - 1])) to--;
  return text.slice(from, to);
}

function joined(head, tail) {
  if (head && tail && !/[\p{L}\p{N}]/u.test(tail[0])) return ".;,".includes(tail) ? head + tail : `${head} ${tail}`;
  return [head, tail].filter(Boolean).join(": ");
}

/**
 * An evaluation as pieces: {text} or {kind: "quote" | "summary", side, text}.
 * Sides are the pair's: where the judge was shown B first, its "A" is the pair's B.
 */
export function pieces(evaluation, order) {
  const found = [];
  const quote = /<(quote|summary)_([AB])>([\s\S]*?)(?:<\/\1_\2>|(?=<(?:quote|summary)_[AB]>)|$)/gi;
  let at = 0;
  for (const match of evaluation.matchAll(quote)) {
    if (match.index > at) found.push({ text: evaluation.slice(at, match.index) });
    const side = match[2].toUpperCase();
    found.push({ kind: match[1].toLowerCase(), side: order === "ba" ? NAMES[side] : side, text: match[3].trim() });
    at = match.index + match[0].length;
  }
  if (at < evaluation.length) found.push({ text: evaluation.slice(at) });
  return found;
}
