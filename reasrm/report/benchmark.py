"""A benchmark's score beside the published ones, for the page and for the terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from reasrm.benchmarks import Benchmark, Protocol, Score
from reasrm.datasets.files import rows
from reasrm.errors import InputError
from reasrm.metrics import Mean
from reasrm.report.page import BenchmarkTable
from reasrm.results import Scored
from reasrm.scoring.tally import Tally
from reasrm.wording import percentage


def read_judgments(path: Path) -> Iterator[Scored]:
    """The rows of an output of `reasrm score`. Raises InputError, which names file and row."""
    for record in rows(path):
        try:
            yield Scored.read(record.row or {})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(f"{path}, row {record.number}: no row of judgments ({where}: {first['msg']})") from None


def published(name: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The published scores of the benchmark called `name`, in percent, and notes on their sources and limits."""
    text = resources.files("reasrm.benchmarks").joinpath("published.json").read_text(encoding="utf-8")
    table = json.loads(text)
    scores = sorted(table[name], key=lambda entry: -entry["overall"])
    sources = dict.fromkeys(entry["source"] for entry in scores)
    return scores, [f"Published scores: {table['sources'][key]}." for key in sources] + table["notes"].get(name, [])


def comparison(benchmark: Benchmark, protocol: Protocol, score: Score, model: str) -> BenchmarkTable:
    """The table: `model`'s row with standard errors, then the published rows, the best first."""
    columns = list(score.sections)
    ours = (f"{model} (this run)", [_cell(score.overall), *(_cell(score.sections[name]) for name in columns)], True)
    scores, sources = published(benchmark.name)
    theirs = [(entry["model"], _published_cells(entry, columns), False) for entry in scores]
    notes = [f"Formula: {benchmark.paper}."]
    if benchmark.notes:
        notes.append(f"{benchmark.notes[0].upper()}{benchmark.notes[1:]}.")
    if score.missing:
        notes.append(f"No overall score, because no row was judged of {', '.join(score.missing)}.")
    return BenchmarkTable(benchmark.title, protocol.says, ["overall", *columns], [ours, *theirs], [*notes, *sources])


def _published_cells(entry: dict[str, Any], columns: list[str]) -> list[str]:
    sections: dict[str, float] = entry.get("sections", {})
    return [f"{entry['overall']:.1f}", *(f"{sections[name]:.1f}" if name in sections else "" for name in columns)]


def _cell(mean: Mean) -> str:
    if math.isnan(mean.value):
        return "-"
    return percentage(mean.value) + ("" if math.isnan(mean.stderr) else f" ± {100 * mean.stderr:.1f}")


def for_terminal(shown: BenchmarkTable, score: Score) -> RenderableType:
    """The table and, below it, every subset."""
    table = Table(title=f"{shown.title}, {shown.protocol}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("model", overflow="fold", min_width=18)
    for column in shown.columns:
        table.add_column(column, justify="right", min_width=10)
    for name, cells, ours in shown.rows:
        table.add_row(Text(name), *cells, style="bold" if ours else "")
    subsets = Table(box=None, padding=(0, 2, 0, 0))
    for name, side in (("subset", "left"), ("score", "right"), ("rows", "right")):
        subsets.add_column(name, justify="left" if side == "left" else "right")
    for name, mean in score.subsets.items():
        subsets.add_row(Text(name), _cell(mean), f"{mean.n:,}")
    return Group(table, Text(), subsets, Text(), *(Text(note, style="dim") for note in shown.notes))


def as_data(benchmark: Benchmark, protocol: Protocol, score: Score, tally: Tally) -> dict[str, Any]:
    """The score as data for JSON, in [0, 1], with the counts of judged rows and of missing verdicts. NaN becomes null."""
    return {
        "benchmark": benchmark.name,
        "protocol": protocol.name,
        "judges": [who._asdict() for who in tally.judges],
        "rows": tally.rows,
        "bad_rows": tally.errors,
        "comparisons": tally.comparisons,
        "no_verdict": dict(tally.reasons),
        "overall": _number(score.overall),
        "sections": {name: _number(mean) for name, mean in score.sections.items()},
        "subsets": {name: _number(mean) for name, mean in score.subsets.items()},
        "missing": list(score.missing),
    }


def _number(mean: Mean) -> dict[str, Any] | None:
    if math.isnan(mean.value):
        return None
    return {"value": mean.value, "stderr": None if math.isnan(mean.stderr) else mean.stderr, "n": mean.n}
