"""A real model as a judge of real preferences: packs and ways of reading side by side, over the same pairs.

Every arm judges the same sample of LLMBar, MT-Bench's human pairs, RM-Bench (chat) and JudgeBench in both orders. Its figures:
accuracy (a pair without a verdict is not right), order consistency, the share without a verdict by reason, the share of forced
verdicts, calibration, tokens and seconds per judgment, with standard errors. The arm "glance" is the baseline that reasoning must
beat. Judgments are kept in --folder, so a run that was stopped goes on.

  python bench/real_judge.py --engine http://127.0.0.1:8080                            (12 pairs per source, all arms)
  python bench/real_judge.py --engine http://127.0.0.1:8080 --arms glance --pairs 100 --sources llmbar-natural

The last line is JSON: by arm and by source.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from reasrm.datasets import DataSet  # noqa: E402
from reasrm.engine import HttpEngine  # noqa: E402
from reasrm.judging import EngineJudge  # noqa: E402
from reasrm.metrics import Calibration, Mean  # noqa: E402
from reasrm.prompts import load_pack  # noqa: E402
from reasrm.types import Judgment, Options, Pair, Side, Verdict  # noqa: E402

SHARED = Path(os.environ.get("REASRM_SHARED_DATA") or ROOT.parent / "shared" / "data")


class Arm(NamedTuple):
    """A way of reading: a prompt pack and options."""

    pack: str
    options: dict[str, Any]


#: "rubric" without forced verdicts is how a judge was read before there were others.
ARMS = {
    "glance": Arm("compact", {"reasoning": "off"}),
    "compact": Arm("compact", {"reasoning": "on"}),
    "rubric": Arm("rubric", {"reasoning": "on"}),
    "rubric unforced": Arm("rubric", {"reasoning": "on", "forced": False, "split_band": 0.0}),
}


class Source(NamedTuple):
    """Where labelled pairs are: a file beside the project, or on the hub with its split."""

    file: str
    hub: str
    split: str | None = None


SOURCES = {
    "llmbar-natural": Source("llmbar/Natural.json", "princeton-nlp/LLMBar", "LLMBar_Natural"),
    "llmbar-neighbor": Source("llmbar/Adversarial-Neighbor.json", "princeton-nlp/LLMBar", "LLMBar_Adversarial_Neighbor"),
    "mt-bench": Source("mt-bench-human.json", "lmsys/mt_bench_human_judgments", "human"),
    "rm-bench-chat": Source("rm-bench/chat_filtered.json", "THU-KEG/RM-Bench"),
    "judgebench": Source("judgebench/gpt-4o.jsonl", "ScalerLab/JudgeBench", "gpt"),
}
MOST_CHARACTERS = 6000  # of a pair: a small model's context, and an hour's patience


class Case(NamedTuple):
    """A labelled pair; `key` names it in the folder."""

    source: str
    key: str
    pair: Pair
    better: Side


def cases(names: Sequence[str], count: int, seed: int) -> Iterator[Case]:
    """`count` pairs of each source, drawn by `seed`. The better one stands on either side equally often."""
    for name in names:
        place = SOURCES[name]
        file = SHARED / place.file
        data = DataSet(file) if file.exists() else DataSet(place.hub, split=place.split)
        found = [case for row in data if row.example is not None for case in _of(name, row.index, row.example)]
        found.sort(key=lambda case: hashlib.blake2b(f"{seed} {case.key}".encode()).digest())
        yield from found[:count]


def _of(source: str, index: int, example: Any) -> Iterator[Case]:
    """The first comparison of a row that has a better side and is short enough, turned round for every second row."""
    if example.labels is None:
        return
    for i, j in example.comparisons_to_judge:
        if example.labels[i] == example.labels[j] or len(example.text) > MOST_CHARACTERS:
            continue
        if index % 2:
            i, j = j, i
        pair = Pair(question=example.question, a=example.responses[i], b=example.responses[j])
        yield Case(source, f"{source}/{index}", pair, "A" if example.labels[i] > example.labels[j] else "B")
        return


class Kept:
    """The judgments of one arm in a file of JSON lines, one per pair."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows: dict[str, dict[str, Any]] = {row["key"]: row for row in map(json.loads, lines)}

    def add(self, case: Case, judgment: Judgment, seconds: float) -> None:
        """Keep a judgment that did not fail."""
        outcome = judgment.outcome
        verdict = outcome if isinstance(outcome, Verdict) else None
        row = {
            "key": case.key,
            "source": case.source,
            "better": case.better,
            "winner": judgment.winner,
            "probability_a": judgment.probability_a,
            "verdict_source": verdict.source if verdict else None,
            "reason": None if isinstance(outcome, Verdict) else outcome.reason,
            "consistent": judgment.order_consistent,
            "orders": [
                opinion.outcome.probability_a if isinstance(opinion.outcome, Verdict) else None for opinion in judgment.opinions
            ],
            "prompt": judgment.usage.prompt_tokens,
            "cached": judgment.usage.cached_tokens,
            "written": judgment.usage.completion_tokens,
            "seconds": seconds,
            "replies": [opinion.reply for opinion in judgment.opinions],
        }
        self.rows[case.key] = row
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def figures(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of one arm."""
    right = Mean.of(float(row["winner"] == row["better"]) for row in rows)
    agree = Mean.of(float(row["consistent"]) for row in rows if row["consistent"] is not None)
    null = Mean.of(float(row["winner"] is None) for row in rows)
    calibration = Calibration()
    for row in rows:
        if row["winner"] is not None:
            calibration.add(max(row["probability_a"], 1 - row["probability_a"]), row["winner"] == row["better"])
    return {
        "pairs": len(rows),
        "accuracy": right.value,
        "accuracy_se": right.stderr,
        "order_consistency": agree.value,
        "null_share": null.value,
        "split_share": Mean.of(float(row["reason"] == "split") for row in rows).value,
        "null_reasons": dict(Counter(row["reason"] for row in rows if row["reason"])),
        "forced_share": Mean.of(float(row["verdict_source"] == "forced") for row in rows).value,
        "calibration_error": calibration.error,
        "tokens_per_judgment": Mean.of(row["prompt"] - row["cached"] + row["written"] for row in rows).value,
        "written_per_judgment": Mean.of(row["written"] for row in rows).value,
        "seconds": Mean.of(row["seconds"] for row in rows).value,
    }


async def judge_all(options: argparse.Namespace, arm: str, sample: Sequence[Case], model: str, console: Console) -> Kept:
    """Judge what is not judged yet by one arm."""
    pack, how = load_pack(ARMS[arm].pack), Options(max_tokens=options.max_tokens, **ARMS[arm].options)
    kept = Kept(
        Path(options.folder) / model.replace("/", "_") / f"{arm}-{pack.digest.replace('@', '-')}-{options.max_tokens}.jsonl"
    )
    missing = [case for case in sample if case.key not in kept.rows]
    turns = asyncio.Semaphore(options.jobs)
    async with HttpEngine(options.engine, model=options.model, timeout_s=options.timeout) as engine:
        judge = EngineJudge(engine, pack, b"bench")

        async def one(case: Case) -> None:
            async with turns:
                started = time.perf_counter()
                judgment = await judge.judge(case.pair, how)
                seconds = time.perf_counter() - started
            if any(getattr(opinion.outcome, "failed", False) for opinion in judgment.opinions):
                console.print(f"{arm} {case.key}: {judgment.outcome}", markup=False)
                return
            kept.add(case, judgment, seconds)
            done = len(kept.rows)
            console.print(f"{arm} {done}/{len(sample)} {case.key}: {judgment.winner or '-'}, {seconds:.1f} s", markup=False)

        await asyncio.gather(*(one(case) for case in missing))
    return kept


def table(results: dict[str, dict[str, Any]], title: str) -> Table:
    """The figures for people."""
    shown = Table(title=title, title_justify="left")
    columns = ("arm", "pairs", "right", "orders agree", "no verdict", "split", "forced", "ECE", "tokens", "written", "seconds")
    for column in columns:
        shown.add_column(column, justify="left" if column == "arm" else "right")
    for arm, f in results.items():
        percents = [f[name] for name in ("order_consistency", "null_share", "split_share", "forced_share", "calibration_error")]
        cells = [_percent(value) for value in percents]
        right = f"{100 * f['accuracy']:.1f} ± {100 * f['accuracy_se']:.1f}"
        rest = [f"{f[name]:.0f}" for name in ("tokens_per_judgment", "written_per_judgment")]
        shown.add_row(arm, str(f["pairs"]), right, *cells, *rest, f"{f['seconds']:.1f}")
    return shown


def _percent(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{100 * value:.1f}"


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """All arms over the same sample."""
    console = Console(stderr=True)
    sample = list(cases(options.sources, options.pairs, options.seed))
    async with HttpEngine(options.engine, model=options.model, timeout_s=options.timeout) as engine:
        model = options.name or (await engine.info()).model
    keys = {case.key for case in sample}
    results: dict[str, dict[str, Any]] = {}
    by_source: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in options.sources}
    for arm in options.arms:
        kept = await judge_all(options, arm, sample, model, console)
        rows = [row for key, row in kept.rows.items() if key in keys]
        if rows:
            results[arm] = figures(rows)
        for name in options.sources:
            if of_source := [row for row in rows if row["source"] == name]:
                by_source[name][arm] = figures(of_source)
    out = Console(width=140)
    for name, of_source in by_source.items():
        out.print(table(of_source, name))
    out.print(table(results, f"{model}: all sources"))
    return {"model": model, "arms": results, "sources": by_source}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", required=True, help="the engine's address")
    parser.add_argument("--model", help="which of its models judges")
    parser.add_argument("--name", help="the model's name in the results (default: as the engine says)")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--pairs", type=int, default=12, help="pairs per source")
    parser.add_argument("--max-tokens", type=int, default=400, help="longest reply")
    parser.add_argument("--jobs", type=int, default=1, help="judgments at a time")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds for one reply")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", default="runs/real_judge", help="where judgments are kept")
    print(json.dumps(asyncio.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
