"""The page: the counts of a tally as numbers and plots, and the rows with the most confident wrong verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasrm.datasets import DataRow, DataSet
from reasrm.metrics import Share
from reasrm.parsing import parse
from reasrm.report import plots
from reasrm.report.drawing import as_text, render
from reasrm.results import Compared, Scored
from reasrm.scoring.output import write_whole
from reasrm.scoring.summary import facts_of, percent_of
from reasrm.scoring.tally import Tally
from reasrm.wording import percent, percentage, sure


@dataclass(frozen=True, slots=True)
class BenchmarkTable:
    """A benchmark's table beside the published ones: `rows` are (name, cells, is ours), one cell per column."""

    title: str
    protocol: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str], bool]]
    notes: Sequence[str] = ()


def write_report(
    path: Path, tally: Tally, *, title: str, data: DataSet | None = None, comparison: BenchmarkTable | None = None
) -> None:
    """Write the page to `path`. `data` gives the texts of the rows it shows. Raises InputError where a package is missing."""
    page = render(
        "reasrm.report",
        "page.html",
        title=title,
        comparison=comparison,
        headline=_headline(tally),
        facts=facts_of(tally),
        plots=_plots(tally),
        wrong=_wrong_rows(tally, data),
    )
    write_whole(path, page)


def _headline(tally: Tally) -> list[tuple[str, str, str]]:
    """The three numbers at the top: (number, label, interval)."""
    named = (
        ("right", tally.overall),
        ("both orders agree", tally.consistent),
        ("verdicts", Share(tally.comparisons - tally.no_verdicts, tally.comparisons)),
    )
    headline: list[tuple[str, str, str]] = []
    for name, share in named:
        low, high = share.interval
        if share.n:
            headline.append((percent_of(share), name, f"{percentage(low)} to {percent(high)} of {share.n:,}"))
    return headline


def _plots(tally: Tally) -> list[tuple[str, str, Any]]:
    """(title, how to read it, SVG) of every plot that has data."""
    drawn: list[tuple[str, str, Any]] = []
    if tally.accuracy:
        drawn.append(("Accuracy", "By subset, with 95 % intervals; in brackets how many verdicts.", plots.accuracy(tally)))
    if tally.shown_first.n:
        drawn.append(("Bias", "A fair judge's bars end at their green marks.", plots.biases(tally)))
    if tally.calibration.n:
        why = "On the dotted line a verdict of 80 % is right in 80 of 100 cases."
        drawn.append(("Calibration", why, plots.calibration(tally)))
    if sum(tally.confidences):
        drawn.append(("How sure", "Verdicts by the probability of A, over both orders.", plots.probabilities(tally)))
    if tally.reasons:
        drawn.append(("No verdict", "Why the judge named no winner.", plots.reasons(tally)))
    return drawn


def _wrong_rows(tally: Tally, data: DataSet | None) -> list[dict[str, Any]]:
    wrong = {row.index for row, _ in tally.wrong}
    entries = {entry.index: entry for entry in data or () if entry.index in wrong} if wrong else {}
    return [_wrong_row(row, compared, entries.get(row.index)) for row, compared in tally.wrong]


def _wrong_row(row: Scored, compared: Compared, entry: DataRow | None) -> dict[str, Any]:
    named, right = ("A", "B") if compared.winner == "A" else ("B", "A")
    probability = compared.probability_a if compared.probability_a is not None else 0.5
    example = entry.example if entry else None
    game = next((game for game in compared.games if game.winner == compared.winner and game.reply), None)
    return {
        "where": f"{row.id} · {row.file}, row {row.row}" + (f" · {row.subset}" if row.subset else ""),
        "sure": sure(probability),
        "named": named,
        "right": right,
        "question": as_text(example.question) if example else "",
        "a": as_text(example.responses[compared.i]) if example else "",
        "b": as_text(example.responses[compared.j]) if example else "",
        "reply": game.reply if game else "",
        "swapped": game is not None and game.order == "ba",
        "rubric": _rubric(game.reply) if game else [],
    }


def _rubric(reply: str) -> list[tuple[str, str]]:
    reading = parse(reply)
    if reading.rubric is None:
        return []
    items = [(item.text, "" if item.weight is None else f"{item.weight:.0%}") for item in reading.rubric.items]
    return items or [(reading.rubric.text, "")]
