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

const MARKS = /["'“”„\s]/;

/** `text` without quotation marks and white space at its ends. */
export function bare(text) {
  let [from, to] = [0, text.length];
  while (from < to && MARKS.test(text[from])) from++;
  while (to > from && MARKS.test(text[to - 1])) to--;
  return text.slice(from, to);
}

/** Where `quote` stands in `text`: [from, to) spans; several where it leaves something out by "...". */
export const find = (text, quote) => findIn(folded(text), quote);

function findIn({ out, places }, quote) {
  const spans = [];
  let from = 0;
  for (const part of folded(bare(quote)).out.split(/ ?(?:\.\.\.|\[\.\.\.\]) ?/)) {
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

const TRIES = 50; // of places inside of words, so that a hostile text costs no more than its length

/** The first place of `needle` where it begins and ends with words; any place, if there is none among the first. */
function bounded(text, needle, from) {
  const letter = (c) => c !== undefined && /[\p{L}\p{N}]/u.test(c);
  const first = text.indexOf(needle, from);
  for (let at = first, tries = 0; at >= 0 && tries < TRIES; at = text.indexOf(needle, at + 1), tries++) {
    const cutBefore = letter(text[at - 1]) && letter(needle[0]);
    const cutAfter = letter(text[at + needle.length]) && letter(needle.at(-1));
    if (!cutBefore && !cutAfter) return at;
  }
  return first;
}

const MOST_QUOTES = 64;

/** `text` cut where a quote begins or ends: [{text, marks}], marks being the indices of the quotes that hold there. */
export function marked(text, quotes) {
  if (!quotes.length) return [{ text, marks: [] }];
  const whole = folded(text);
  const spans = quotes.slice(0, MOST_QUOTES).flatMap((quote, index) => findIn(whole, quote).map(([from, to]) => ({ from, to, index })));
  const cuts = [...new Set([0, text.length, ...spans.flatMap(({ from, to }) => [from, to])])].sort((x, y) => x - y);
  return cuts.slice(0, -1).map((from, i) => ({
    text: text.slice(from, cuts[i + 1]),
    marks: spans.filter((span) => span.from <= from && span.to >= cuts[i + 1]).map((span) => span.index),
  }));
}
