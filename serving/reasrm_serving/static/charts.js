// Small drawings: drawn by hand as SVG, since they are few and the page loads nothing from elsewhere.

import { h, s } from "./dom.js";
import { LETTERS, percent, signed, surely } from "./words.js";

/** The probabilities of both orders and their average, on a line between the two sides. */
export function axis(judgment, names) {
  const dots = judgment.opinions.filter(({ outcome }) => outcome.winner);
  const where = (probability_a) => 2 + 96 * (1 - probability_a); // A is at the left
  const labels = dots.map(({ order, outcome }) => `${order === "ab" ? names.A : names.B} first: ${surely(outcome.probability_a)} for ${names[outcome.winner]}`);
  const at = (probability) => `${where(probability)}%`;
  return h("figure", { class: "axis" },
    h("span", { class: `letter side-${names.A}`, "aria-hidden": "true" }, names.A),
    s("svg", { role: "img", "aria-label": labels.join("; "), width: "100%", height: "44" },
      s("line", { class: "track", x1: "2%", x2: "98%", y1: "16", y2: "16" }),
      s("line", { class: "middle", x1: "50%", x2: "50%", y1: "8", y2: "24" }),
      s("line", { class: `span side-${names[judgment.winner]}`, x1: "50%", x2: at(judgment.probability_a), y1: "16", y2: "16" }),
      dots.map(({ order, outcome }) => s("circle", { class: `order ${order}`, cx: at(outcome.probability_a), cy: "16", r: "4.5" })),
      s("circle", { class: `mean side-${names[judgment.winner]}`, cx: at(judgment.probability_a), cy: "16", r: "7.5" }),
      s("text", { x: "50%", y: "41", "text-anchor": "middle" }, "even"),
      s("text", { x: "2%", y: "41" }, `surely ${names.A}`),
      s("text", { x: "98%", y: "41", "text-anchor": "end" }, `surely ${names.B}`)),
    h("span", { class: `letter side-${names.B}`, "aria-hidden": "true" }, names.B));
}

/** Rewards, each a bar from the zero with a whisker of one standard error; rows as they are given. */
export function rewards(rows, responses) {
  const known = rows.filter(({ reward }) => reward !== null);
  const reach = Math.max(1, ...known.map(({ reward, stderr }) => Math.abs(reward) + (stderr ?? 0)));
  const at = (reward) => `${50 + (46 * reward) / reach}%`;
  const step = 40; // px, the height of a row of the names beside it
  const height = rows.length * step + 22;
  const name = (index) => (index < responses ? LETTERS[index] : "reference");
  const labels = known.map(({ index, reward, stderr }) => `${name(index)} ${signed(reward)}${stderr ? ` ± ${stderr.toFixed(2)}` : ""}`);
  const ticks = [-1, -0.5, 0, 0.5, 1].map((tick) => tick * Math.floor(reach));
  return s("svg", { class: "rewards", role: "img", "aria-label": `Rewards: ${labels.join("; ")}`, width: "100%", height },
    ticks.map((tick) => [
      s("line", { class: tick ? "grid" : "zero", x1: at(tick), x2: at(tick), y1: 0, y2: height - 20 }),
      s("text", { x: at(tick), y: height - 4, "text-anchor": "middle" }, tick > 0 ? `+${tick}` : String(tick).replace("-", "−")),
    ]),
    rows.map(({ index, reward, stderr }, row) => reward !== null && bar(at, row * step + step / 2, reward, stderr ?? 0, name(index))));
}

function bar(at, y, reward, stderr, name) {
  const ends = [reward - stderr, reward + stderr];
  return s("g", { class: `side-${name}` },
    s("line", { class: "reward", x1: at(0), x2: at(reward), y1: y, y2: y }),
    stderr > 0 && s("line", { class: "whisker", x1: at(ends[0]), x2: at(ends[1]), y1: y, y2: y }),
    stderr > 0 && ends.map((end) => s("line", { class: "whisker", x1: at(end), x2: at(end), y1: y - 5, y2: y + 5 })),
    s("circle", { class: "mean", cx: at(reward), cy: y, r: 6 }));
}

/** Counts in equal bins from 0 to 1, coloured from B's side to A's. */
export function histogram(bins) {
  const most = Math.max(1, ...bins);
  const total = bins.reduce((sum, n) => sum + n, 0);
  const width = 100 / bins.length;
  const height = 96;
  return s("svg", { class: "histogram", role: "img", width: "100%", height: height + 20, "aria-label": `How sure: of ${total} verdicts, ${percent(share(bins))} are surer than 90 %` },
    s("line", { class: "zero", x1: 0, x2: "100%", y1: height, y2: height }),
    bins.map((n, i) => s("rect", { class: i < bins.length / 2 ? "side-B" : "side-A", x: `${i * width + 0.4}%`, width: `${width - 0.8}%`, y: height - (n / most) * height, height: (n / most) * height, rx: 2 },
      s("title", {}, `${percent(i / bins.length)} to ${percent((i + 1) / bins.length)}: ${n}`))),
    [["0 %", "0", "start"], ["50 %", "50%", "middle"], ["100 %", "100%", "end"]].map(([text, x, anchor]) => s("text", { x, y: height + 15, "text-anchor": anchor }, text)));
}

const share = (bins) => {
  const sum = (list) => list.reduce((total, n) => total + n, 0);
  const tenth = bins.length / 10;
  return sum([...bins.slice(0, tenth), ...bins.slice(-tenth)]) / Math.max(1, sum(bins));
};

/** Shares over time, oldest first, with their 95 % intervals: [{share, low, high, n}]. */
export function trend(points) {
  if (!points.length) return h("p", { class: "empty" }, "Drawn from five judgments in both orders on.");
  const [width, height] = [400, 96];
  const x = (i) => (points.length < 2 ? width / 2 : (i / (points.length - 1)) * width);
  const y = (value) => height - value * height;
  const line = (key) => points.map((point, i) => `${x(i).toFixed(1)},${y(point[key]).toFixed(1)}`);
  const last = points.at(-1);
  const drawn = s("svg", { class: "trend", role: "img", width: "100%", height, viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-label": `Order consistency, latest ${percent(last.share)}` },
    [0, 0.5, 1].map((tick) => s("line", { class: "grid", x1: 0, x2: width, y1: y(tick), y2: y(tick) })),
    points.length > 1 && s("polygon", { class: "band", points: [...line("high"), ...line("low").reverse()].join(" ") }),
    points.length > 1 && s("polyline", { class: "line", points: line("share").join(" ") }),
    points.length === 1 && s("line", { class: "line", x1: width / 2 - 8, x2: width / 2 + 8, y1: y(last.share), y2: y(last.share) }));
  const labels = ["100 %", "50 %", "0 %"].map((label) => h("span", {}, label));
  return h("div", { class: "trend-box" }, h("div", { class: "trend-labels", "aria-hidden": "true" }, labels), drawn);
}
