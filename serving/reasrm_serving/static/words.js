// The judge's terms in plain words, and numbers as people read them.

export const LETTERS = "ABCDEFGH";

export const REASONS = {
  no_answer: "The reply ends without an answer.",
  both_answers: "The reply answers both ways.",
  truncated: "The token limit came before the answer.",
  unclosed_think: "The judge never stopped thinking.",
  refused: "The judge declined to judge.",
  empty: "The reply is empty.",
  split: "The votes, or the two orders, are even, or contradict each other close to even.",
  outside_domain: "This judge was not made for such a question.",
  too_long: "The texts do not fit the judge's context.",
  refused_by_engine: "The engine refuses this prompt.",
  engine_failed: "The engine gave no reply.",
  deadline: "There was no reply in time.",
};

/** Two decimals with a real minus; what rounds to zero has no sign. */
export const signed = (n) => n.toFixed(2).replace(/^-(?=0\.00$)/, "").replace("-", "−");

export const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;

/** The probability of the side that it favours; never rounded up to certainty. */
export function surely(probability) {
  const share = Math.max(probability, 1 - probability);
  return share > 0.9995 && share < 1 ? "> 99.9 %" : percent(share, 1);
}

export const seconds = (s) => (s < 0.0995 ? `${Math.max(1, Math.round(s * 1000))} ms` : s < 10 ? `${s.toFixed(2)} s` : `${s.toFixed(0)} s`);

export const count = (n) => n.toLocaleString("en-US");

export const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

export function ago(unix) {
  const s = Math.max(0, Date.now() / 1000 - unix);
  if (s < 60) return `${Math.floor(s)} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ago`;
  return new Date(unix * 1000).toLocaleDateString();
}
