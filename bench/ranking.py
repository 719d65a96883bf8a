"""What ranking a group costs and what it is worth: comparisons against Kendall's tau and best-of-N regret, by method.

A simulated judge of known accuracy judges groups whose true strengths are drawn from N(0, spread). The yardstick is `all_pairs`
in both orders under the same fit. Run: python bench/ranking.py [--groups 500] [--plot FILE.png]

What deliberation reuse saves is measured on real SGLang by bench/reuse.py.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from reasrm.judging.group import Group, RankOptions
from reasrm.judging.ranking import Match, ranking
from reasrm.types import Judgment, NoVerdict, Opinion, Order, Reading, Verdict

SIZES = (4, 8, 16, 32)
DEFAULT = RankOptions().method


@dataclass(frozen=True)
class World:
    """A kind of judge. `noise` is the sd of the logit's noise; None: one vote a reading, which says 0 or 1."""

    name: str
    noise: float | None
    spread: float = 3.0
    bias: float = 0.0


WORLDS = (
    World("probabilities", noise=0.8),
    World("probabilities, position bias 1", noise=0.8, bias=1.0),
    World("votes", noise=None),
    World("votes, position bias 1", noise=None, bias=1.0),
    World("votes, 65 % accurate", noise=None, spread=0.52),
    World("votes, 95 % accurate", noise=None, spread=7.5),
)
CONFIGS = {
    "all_pairs both": RankOptions(method="all_pairs", orders="both"),
    "all_pairs": RankOptions(method="all_pairs"),
    "swiss": RankOptions(method="swiss"),
    "swiss both": RankOptions(method="swiss", orders="both"),
    "circle": RankOptions(method="circle"),
    "circle both": RankOptions(method="circle", orders="both"),
    "pivot": RankOptions(method="pivot"),
    "pivot both": RankOptions(method="pivot", orders="both"),
    "knockout": RankOptions(method="knockout"),
    "knockout both": RankOptions(method="knockout", orders="both"),
}


class SimulatedJudge:
    """Reads the contestants' true strengths through noise, in each order independently."""

    def __init__(self, truth: np.ndarray, world: World, rng: np.random.Generator) -> None:
        self.truth, self.world, self.rng = truth, world, rng
        self.readings = self.right = 0

    def judge(self, match: Match) -> Judgment:
        orders: tuple[Order, ...] = ("ab", "ba") if match.options.orders == "both" else ("ab",)
        opinions = [self._opinion(match.i, match.j, order) for order in orders]
        probability = float(np.mean([opinion.outcome.probability_a for opinion in opinions]))
        if probability == 0.5:  # the verdicts of the two orders still stand in the opinions, but there is no winner
            return Judgment(outcome=NoVerdict(reason="split"), opinions=tuple(opinions))
        return Judgment(outcome=_verdict(probability, self.world), opinions=tuple(opinions))

    def _opinion(self, i: int, j: int, order: Order) -> Opinion:
        first, second = (i, j) if order == "ab" else (j, i)
        logit = self.truth[first] - self.truth[second] + self.world.bias
        logit += 0.0 if self.world.noise is None else self.world.noise * self.rng.normal()
        probability = 1.0 / (1.0 + math.exp(-logit))
        if self.world.noise is None:
            probability = float(self.rng.random() < probability)
        self.readings += 1
        self.right += (probability > 0.5) == (self.truth[first] > self.truth[second])
        verdict = _verdict(probability, self.world)
        return Opinion(order=order, outcome=verdict if order == "ab" else verdict.swapped(), reading=Reading(), reply="")


def _verdict(probability: float, world: World) -> Verdict:
    source = "votes" if world.noise is None else "logprobs"
    return Verdict(winner="A" if probability > 0.5 else "B", probability_a=probability, source=source)


@dataclass
class Result:
    """What one method did on one group."""

    readings: int
    tau: float
    regret: float
    accuracy: float
    covered: float
    waves: int


def simulate(options: RankOptions, truth: np.ndarray, world: World, rng: np.random.Generator) -> Result:
    """Rank one group by the shipped protocol."""
    group = Group.model_validate({"question": "q", "responses": [f"response {i}" for i in range(len(truth))]})
    judge = SimulatedJudge(truth, world, rng)
    flow, waves = ranking(group, options.model_copy(update={"scale": "raw"})), 0
    try:
        wave = next(flow)
        while True:
            waves += 1
            wave = flow.send([judge.judge(match) for match in wave])
    except StopIteration as stop:
        found = stop.value
    rewards = np.array([0.0 if each is None else each for each in found.rewards])
    errors = np.array([each.stderr or math.inf for each in found.standings])
    covered = np.abs(rewards - (truth - truth.mean())) <= 1.96 * errors
    best = found.order[0] if found.order else 0
    return Result(
        readings=judge.readings,
        tau=float(kendalltau(rewards, truth).statistic),
        regret=float(truth.max() - truth[best]),
        accuracy=judge.right / max(1, judge.readings),
        covered=float(covered.mean()),
        waves=waves,
    )


@dataclass
class Row:
    """One line of the table: means over groups, `tau_ratio` with its standard error (delta method, groups paired)."""

    world: str
    n: int
    config: str
    readings: float
    share: float
    waves: float
    tau: float
    tau_ratio: float
    stderr: float
    regret: float
    accuracy: float
    covered: float


def measure(world: World, n: int, groups: int, seed: int) -> Iterator[Row]:
    """All methods on the same groups."""
    rng = np.random.default_rng([seed, n, WORLDS.index(world)])
    results: dict[str, list[Result]] = {name: [] for name in CONFIGS}
    for _ in range(groups):
        truth = rng.normal(0.0, world.spread, n)
        for name, options in CONFIGS.items():
            results[name].append(simulate(options, truth, world, rng))
    base = np.array([each.tau for each in results["all_pairs both"]])
    for name, found in results.items():
        tau = np.array([each.tau for each in found])
        ratio = tau.mean() / base.mean()
        stderr = float(np.std(tau - ratio * base) / base.mean() / math.sqrt(groups))
        mean = {key: float(np.mean([getattr(each, key) for each in found])) for key in vars(found[0])}
        yield Row(
            world.name, n, name, mean["readings"], mean["readings"] / (n * (n - 1)), mean["waves"], mean["tau"],
            float(ratio), stderr, mean["regret"], mean["accuracy"], mean["covered"],
        )  # fmt: skip


def table(rows: list[Row]) -> None:
    """Print the rows for people."""
    names = (
        ("readings", 9),
        ("share", 7),
        ("waves", 6),
        ("tau", 7),
        ("of all", 8),
        ("+-", 7),
        ("regret", 8),
        ("accuracy", 9),
        ("in 95%", 7),
    )
    print(f"{'judge':<32}{'N':>3} {'method':<15}" + "".join(f"{name:>{width}}" for name, width in names))
    for r in rows:
        print(
            f"{r.world:<32}{r.n:>3} {r.config:<15}{r.readings:>9.1f}{r.share:>7.3f}{r.waves:>6.1f}{r.tau:>7.3f}{r.tau_ratio:>8.3f}"
            f"{r.stderr:>7.4f}{r.regret:>8.3f}{r.accuracy:>9.3f}{r.covered:>7.2f}"
        )


def plot(rows: list[Row], path: Path) -> None:
    """Tau against the share of readings, one panel a group size, for the first world."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    sizes = sorted({row.n for row in rows})
    figure, grid = plt.subplots(1, len(sizes), figsize=(4 * len(sizes), 3.6), sharey=True, layout="constrained", squeeze=False)
    panels = grid[0]
    for panel, n in zip(panels, sizes, strict=True):
        for row in (row for row in rows if row.n == n and row.world == WORLDS[0].name):
            both = row.config.endswith("both")
            panel.errorbar(row.share, row.tau, yerr=1.96 * row.stderr, fmt="s" if both else "o", label=row.config)
        panel.set(title=f"N = {n}", xlabel="readings / all pairs in both orders", xscale="log")
        panel.set_xticks([1 / 16, 1 / 8, 1 / 4, 1 / 2, 1], ["1/16", "1/8", "1/4", "1/2", "1"])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("Kendall's tau with the truth")
    panels[-1].legend(fontsize="x-small")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, print, plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=500, help="simulated groups a cell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, help="write the plot here")
    parser.add_argument("--worlds", type=int, default=len(WORLDS), help="only the first so many kinds of judge")
    parser.add_argument("--sizes", type=lambda said: tuple(map(int, said.split(","))), default=SIZES, help="group sizes, as 8,16")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for world in WORLDS[: arguments.worlds]:
        for n in arguments.sizes:
            rows += measure(world, n, arguments.groups, arguments.seed)
            print(f"measured: {world.name}, N = {n}", file=sys.stderr)
    table(rows)
    if arguments.plot:
        plot(rows, arguments.plot)
    figures: dict[str, object] = {"default_method": DEFAULT, "groups": arguments.groups}
    for n in sorted({8, 16} & set(arguments.sizes)):
        row = next(row for row in rows if row.world == WORLDS[0].name and row.n == n and row.config == DEFAULT)
        figures |= {
            f"tau_ratio_n{n}": round(row.tau_ratio, 4),
            f"tau_ratio_n{n}_stderr": round(row.stderr, 4),
            f"comparison_share_n{n}": round(row.share, 4),
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
