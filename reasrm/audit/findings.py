"""The findings of an audit: one row per test, as a table, a plot and data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from reasrm.datasets.files import needed
from reasrm.metrics import Mean, Share
from reasrm.types import Frozen

Sense = Literal["reproducibility", "internal consistency", "external consistency", "generalisation"]
COLOURS = {
    "reproducibility": "#3b7dd8",
    "internal consistency": "#3a9d6e",
    "external consistency": "#d8a13b",
    "generalisation": "#9b5fc0",
}


class Finding(Frozen):
    """One test. `value` in [0, 1] has a 95 % interval; None if it could not be measured. `ideal` is a perfect judge's value."""

    sense: Sense
    test: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    ideal: float
    note: str = ""

    @classmethod
    def of_share(cls, sense: Sense, test: str, share: Share, ideal: float = 1.0, note: str = "") -> Finding:
        """A finding that is a share, with Wilson's interval."""
        low, high = share.interval if share.n else (None, None)
        return cls(sense=sense, test=test, value=share.value, low=low, high=high, n=share.n, ideal=ideal, note=note)

    @classmethod
    def of_mean(cls, sense: Sense, test: str, values: Sequence[float], ideal: float, note: str = "") -> Finding:
        """A finding that is a mean, with the interval of its standard error."""
        mean = Mean.of(values)
        if mean.n == 0:
            return cls(sense=sense, test=test, value=None, low=None, high=None, n=0, ideal=ideal, note=note or "nothing to measure")
        half = 1.96 * mean.stderr if mean.n > 1 else 0.0
        low, high = mean.value - half, mean.value + half
        return cls(sense=sense, test=test, value=mean.value, low=low, high=high, n=mean.n, ideal=ideal, note=note)


def table(findings: Sequence[Finding]) -> Table:
    """The findings for the terminal."""
    shown = Table(box=None, padding=(0, 2, 0, 0), title="how far this judge can be believed", title_justify="left")
    shown.add_column("test", max_width=44)
    for name in ("found", "interval", "ideal", "n"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("", style="dim")
    before = ""
    for finding in findings:
        if finding.sense != before:
            shown.add_row(Text(finding.sense, style="bold"))
            before = finding.sense
        value = "-" if finding.value is None else f"{finding.value:.3f}"
        interval = "" if finding.low is None or finding.high is None else f"{finding.low:.3f} to {finding.high:.3f}"
        shown.add_row(Text(f"  {finding.test}"), value, interval, f"{finding.ideal:g}", f"{finding.n:,}", Text(finding.note))
    return shown


def plot(findings: Sequence[Finding], path: Path) -> None:
    """Draw the findings to `path` (.svg, .png or .pdf): dots with intervals, an open mark at each ideal."""
    figure = needed("matplotlib.figure", "matplotlib").Figure(figsize=(8, 0.9 + 0.34 * len(findings)), layout="constrained")
    axes = figure.add_subplot()
    shown = [finding for finding in reversed(findings) if finding.value is not None]
    for place, finding in enumerate(shown):
        colour = COLOURS[finding.sense]
        if finding.low is not None:
            axes.plot([finding.low, finding.high], [place, place], color=colour, linewidth=2.5, alpha=0.5, solid_capstyle="round")
        axes.plot([finding.value], [place], "o", color=colour, markersize=6)
        axes.plot([finding.ideal], [place], "|", color="#444444", markersize=13, markeredgewidth=2)
    axes.set_yticks(range(len(shown)), [f"{finding.test}  ({finding.n:,})" for finding in shown])
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("found (dot, with its 95 % interval) and ideal (bar)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, axis="x", alpha=0.2)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def as_data(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The findings as data for JSON."""
    return [finding.model_dump() for finding in findings]
