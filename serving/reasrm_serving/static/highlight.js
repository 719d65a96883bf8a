// Finding a judge's quotations in the response that they quote: to the letter, or up to white space, case and kind of quotation mark.

const ALIKE = { "“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "…": "..." };

/** `text` in the form that is compared, with the place of each of its characters in the original. */
function folded(text) {
  let out = "";
  const places = [];
  for (let i = 0; i < text.length; i++) {
    const character = /\s/.test(text[i]) ? " " : (ALIKE[text[i]] ?? text[i]).toLowerCase();
    if (character === " " && (out === "" || out.endsWith(" "))) continue;
    for (const each of character) {
      out += each;
      places.push(i);
    }
  }
  return { out, places };
}

/** Where `quote` stands in `text`: [from, to) spans; several where it leaves something out by "...". */
export function find(text, quote) {
  const { out, places } = folded(text);
  const spans = [];
  let from = 0;
  for (const part of folded(quote.replace(/^["'“”\s]+|["'“”\s]+$/g, "")).out.split(/\s*(?:\.\.\.|\[\.\.\.\])\s*/)) {
    const needle = part.trim();
    if (!needle) continue;
    let at = bounded(out, needle, from);
    if (at < 0) at = bounded(out, needle, 0);
    if (at < 0) return [];
    from = at + needle.length;
    spans.push([places[at], places[from - 1] + 1]);
  }
  return spans;
}

/** The first place of `needle` where it begins and ends with words; any place, if there is no such. */
function bounded(text, needle, from) {
  const letter = (c) => c !== undefined && /[\p{L}\p{N}]/u.test(c);
  for (let at = text.indexOf(needle, from); at >= 0; at = text.indexOf(needle, at + 1)) {
    const cutBefore = letter(text[at - 1]) && letter(needle[0]);
    const cutAfter = letter(text[at + needle.length]) && letter(needle.at(-1));
    if (!cutBefore && !cutAfter) return at;
  }
  return text.indexOf(needle, from);
}

/** `text` cut where a quote begins or ends: [{text, marks}], marks being the indices of the quotes that hold there. */
export function marked(text, quotes) {
  const spans = quotes.flatMap((quote, index) => find(text, quote).map(([from, to]) => ({ from, to, index })));
  const cuts = [...new Set([0, text.length, ...spans.flatMap(({ from, to }) => [from, to])])].sort((x, y) => x - y);
  return cuts.slice(0, -1).map((from, i) => ({
    text: text.slice(from, cuts[i + 1]),
    marks: spans.filter((span) => span.from <= from && span.to >= cuts[i + 1]).map((span) => span.index),
  }));
}
