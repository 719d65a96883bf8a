"""The cost and the quality of ranking methods: comparisons and tokens against Kendall's tau and best-of-N regret.

Simulated judges of known accuracy read groups whose true strengths are drawn from N(0, spread). The embedded judge, on real SGLang,
reads every pair of a few groups in both orders, and each method is replayed on its readings. The baseline is `all_pairs` in both
orders under the same fit. Last, what deliberation reuse saves (bench/reuse.py).

  python bench/ranking.py --plot ranking.png                          (everything: half an hour on two cores)
  python bench/ranking.py --groups 20 --worlds 1 --embedded 0         (a minute, without SGLang)
  python bench/ranking.py --groups 20 --sizes 8 --embedded 50 --reuse-groups 2

The last line is JSON. With fewer than 500 groups its standard errors are too large to compare by.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "training")]

import reuse  # noqa: E402
from cases import EMBEDDED, WORLDS, Case, recorded, simulated  # noqa: E402

from reasrm.judging.group import RankOptions  # noqa: E402
from reasrm.judging.ranking import ranking  # noqa: E402
from tests.components import JUDGE  # noqa: E402

SIZES = (4, 8, 16, 32)
DEFAULT = RankOptions().method
SHARES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # ticks of the plot


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


@dataclass
class Result:
    """The result of one method on one group."""

    readings: int
    tokens: int
    tau: float
    regret: float
    accuracy: float
    covered: float
    waves: int


def play(options: RankOptions, case: Case) -> Result:
    """Rank one group by the shipped protocol."""
    judge, truth = case.judge(), case.truth
    flow, waves = ranking(case.group, options.model_copy(update={"scale": "raw", "reuse": False})), 0
    try:
        wave = next(flow)
        while True:
            waves += 1
            wave = flow.send([judge.judge(match) for match in wave])
    except StopIteration as stop:
        result = stop.value
    rewards = np.array([0.0 if reward is None else reward for reward in result.rewards])
    errors = np.array([standing.stderr or math.inf for standing in result.standings])
    covered = np.abs(rewards - (truth - truth.mean())) <= 1.96 * errors
    best = result.order[0] if result.order else 0
    tau = kendalltau(rewards, truth).statistic
    return Result(
        readings=judge.readings,
        tokens=judge.tokens,
        tau=0.0 if math.isnan(tau) else float(tau),
        regret=float(truth.max() - truth[best]),
        accuracy=judge.right / max(1, judge.decidable),
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
    tokens: float
    share: float
    waves: float
    tau: float
    tau_ratio: float
    stderr: float
    regret: float
    accuracy: float
    covered: float


def measure(world: str, n: int, cases: Iterable[Case]) -> Iterator[Row]:
    """All methods on the same groups."""
    results: dict[str, list[Result]] = {name: [] for name in CONFIGS}
    for case in cases:
        for name, options in CONFIGS.items():
            results[name].append(play(options, case))
    base = np.array([outcome.tau for outcome in results["all_pairs both"]])
    for name, outcomes in results.items():
        tau = np.array([outcome.tau for outcome in outcomes])
        ratio = tau.mean() / base.mean() if base.mean() else math.nan
        stderr = float(np.std(tau - ratio * base) / abs(base.mean()) / math.sqrt(len(outcomes))) if base.mean() else math.nan
        mean = {key: float(np.mean([getattr(outcome, key) for outcome in outcomes])) for key in vars(outcomes[0])}
        yield Row(
            world, n, name, mean["readings"], mean["tokens"], mean["readings"] / (n * (n - 1)), mean["waves"], mean["tau"],
            float(ratio), stderr, mean["regret"], mean["accuracy"], mean["covered"],
        )  # fmt: skip


def measure_simulated(cell: tuple[int, int, int, int]) -> list[Row]:
    """All methods on groups of a simulated judge; `cell` is its place in `WORLDS`, the group size, how many groups, the seed."""
    place, n, groups, seed = cell
    rows = list(measure(WORLDS[place].name, n, simulated(WORLDS[place], n, groups, seed)))
    print(f"measured: {WORLDS[place].name}, N = {n}", file=sys.stderr, flush=True)
    return rows


def table(rows: list[Row]) -> None:
    """Print the rows for people."""
    names = (
        ("readings", 9),
        ("tokens", 9),
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
        tokens = f"{r.tokens:.0f}" if r.tokens else "-"
        print(
            f"{r.world:<32}{r.n:>3} {r.config:<15}{r.readings:>9.1f}{tokens:>9}{r.share:>7.3f}{r.waves:>6.1f}{r.tau:>7.3f}"
            f"{r.tau_ratio:>8.3f}{r.stderr:>7.4f}{r.regret:>8.3f}{r.accuracy:>9.3f}{r.covered:>7.2f}"
        )


def plot(rows: list[Row], path: Path) -> None:
    """Tau against the share of readings: a row of panels for the first simulated judge and one for the embedded, by group size."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    sizes = sorted({row.n for row in rows})
    shown = [name for name in (WORLDS[0].name, EMBEDDED) if any(row.world == name for row in rows)]
    figure, grid = plt.subplots(
        len(shown), len(sizes), figsize=(4 * len(sizes), 3.6 * len(shown)), sharey="row", layout="constrained", squeeze=False
    )
    for panels, world in zip(grid, shown, strict=True):
        for panel, n in zip(panels, sizes, strict=True):
            for row in (row for row in rows if row.n == n and row.world == world):
                marker = "s" if row.config.endswith("both") else "o"
                panel.errorbar(row.share, row.tau, yerr=1.96 * row.stderr * abs(row.tau), fmt=marker, label=row.config)
            panel.set(title=f"{world}, N = {n}", xlabel="readings / all pairs in both orders", xscale="log")
            panel.set_xticks(SHARES, [f"{share:g}" for share in SHARES])
            panel.minorticks_off()
            panel.set_xlim(min(row.share for row in rows if row.n == n) * 0.8, 1.25)
            panel.grid(alpha=0.3)
        panels[0].set_ylabel("Kendall's tau with the truth")
    grid[0][-1].legend(fontsize="x-small")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, print, plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=500, help="simulated groups per cell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, help="write the plot here")
    parser.add_argument("--worlds", type=int, default=len(WORLDS), help="only the first so many kinds of simulated judge")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="simulated cells at a time")
    parser.add_argument("--sizes", type=lambda text: tuple(map(int, text.split(","))), default=SIZES, help="group sizes, as 8,16")
    parser.add_argument("--judge", type=Path, default=JUDGE, help="the folder of the judge that SGLang serves")
    parser.add_argument("--embedded", type=int, default=1000, help="the least readings per group size; 0 leaves SGLang out")
    parser.add_argument("--reuse-groups", type=int, default=12, help="groups of 8 by which deliberation reuse is measured")
    parser.add_argument("--replies", type=Path, help="what reuse would save at the lengths of these (JSON lines with a reply each)")
    arguments = parser.parse_args()
    rows: list[Row] = []
    cells = [(place, n, arguments.groups, arguments.seed) for place in range(arguments.worlds) for n in arguments.sizes]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for cell in pool.map(measure_simulated, cells):
            rows += cell
    figures: dict[str, object] = {"default_method": DEFAULT, "groups": arguments.groups}
    if arguments.embedded:
        with reuse.served(arguments.judge) as url:
            for n in arguments.sizes:
                rows += measure(EMBEDDED, n, recorded(url, n, arguments.embedded))
                print(f"measured: {EMBEDDED}, N = {n}", file=sys.stderr)
            figures |= asyncio.run(reuse.measure(url, arguments.reuse_groups, 8, reuse.MAX_TOKENS))
    if arguments.replies:
        figures |= reuse.projected(arguments.replies, 8)
    table(rows)
    if arguments.plot:
        plot(rows, arguments.plot)
    for n in sorted({8, 16} & set(arguments.sizes)):
        for world, prefix in ((WORLDS[0].name, ""), (EMBEDDED, "embedded_")):
            for row in (row for row in rows if row.world == world and row.n == n and row.config == DEFAULT):
                figures |= {
                    f"{prefix}tau_ratio_n{n}": round(row.tau_ratio, 4),
                    f"{prefix}tau_ratio_n{n}_stderr": round(row.stderr, 4),
                    f"{prefix}comparison_share_n{n}": round(row.share, 4),
                }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
