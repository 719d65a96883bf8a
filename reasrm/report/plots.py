"""The plots of a scoring, drawn from a tally."""

from __future__ import annotations

from typing import Any

from reasrm.metrics import Share
from reasrm.report.drawing import BLUE, GREEN, INK, RED, WIDE, axes_of, svg
from reasrm.scoring.tally import Tally

MOST_SUBSETS = 30


def accuracy(tally: Tally) -> Any:
    """Accuracy by subset with Wilson's intervals; of many subsets, those with the most verdicts."""
    largest = sorted(tally.accuracy.items(), key=lambda item: -item[1].n)[:MOST_SUBSETS]
    shares = sorted(largest, key=lambda item: item[1].value or 0.0)
    figure, axes = axes_of(WIDE, 0.9 + 0.26 * len(shares))
    for place, (_, share) in enumerate(shares):
        low, high = (100 * end for end in share.interval)
        axes.plot([low, high], [place, place], color=BLUE, linewidth=2.5, alpha=0.45, solid_capstyle="round")
        axes.plot([100 * (share.value or 0.0)], [place], "o", color=BLUE, markersize=6)
    axes.axvline(50, color=INK, linewidth=0.8, linestyle=":", alpha=0.6)
    axes.set_yticks(range(len(shares)), [f"{_short(name)}  ({share.n:,})" for name, share in shares])
    axes.set_xlim(0, 101)
    axes.set_ylim(-0.7, len(shares) - 0.3)
    axes.set_xlabel("verdicts that agree with the label, % (dotted: chance)")
    return svg(figure)


def calibration(tally: Tally) -> Any:
    """The reliability diagram: the share of right verdicts by confidence; a dot's area shows the number of verdicts."""
    figure, axes = axes_of(WIDE, 3.4)
    axes.plot([0.5, 1], [0.5, 1], color=INK, linewidth=0.8, linestyle=":", alpha=0.6)
    diagram = tally.calibration.diagram
    largest = max((part.n for part in diagram), default=1)
    axes.plot([part.confidence for part in diagram], [part.accuracy for part in diagram], color=GREEN, linewidth=1.2, alpha=0.6)
    sizes = [12 + 160 * part.n / largest for part in diagram]
    axes.scatter([part.confidence for part in diagram], [part.accuracy for part in diagram], s=sizes, color=GREEN, zorder=3)
    axes.set_xlim(0.48, 1.02)
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("confidence of the verdict")
    axes.set_ylabel("share that is right")
    return svg(figure)


def probabilities(tally: Tally) -> Any:
    """A histogram of the probability that A is better."""
    figure, axes = axes_of(WIDE, 3.4)
    bins = tally.confidences
    edges = [place / len(bins) for place in range(len(bins))]
    axes.bar(edges, bins, width=1 / len(bins), align="edge", color=BLUE, alpha=0.8)
    axes.set_xlim(0, 1)
    axes.set_xlabel("probability that A is better")
    axes.set_ylabel("verdicts")
    return svg(figure)


def biases(tally: Tally) -> Any:
    """Position bias, length bias and the agreement of the two orders, with the unbiased values."""
    named: list[tuple[str, Share, float | None]] = [
        ("both orders agree", tally.consistent, 1.0),
        ("for the longer response", tally.longer, tally.longer_labelled.value),
        ("for the response shown first", tally.shown_first, 0.5),
    ]
    shown = [(name, share, ideal) for name, share, ideal in named if share.n]
    figure, axes = axes_of(WIDE, 0.9 + 0.42 * len(shown))
    for place, (_, share, ideal) in enumerate(shown):
        low, high = (100 * end for end in share.interval)
        axes.barh(place, 100 * (share.value or 0.0), color=RED, alpha=0.75, height=0.55)
        axes.plot([low, high], [place, place], color=INK, linewidth=1.4)
        if ideal is not None:
            axes.plot([100 * ideal] * 2, [place - 0.4, place + 0.4], color=GREEN, linewidth=3)
    axes.set_yticks(range(len(shown)), [f"{name}  ({share.n:,})" for name, share, _ in shown])
    axes.set_xlim(0, 101)
    axes.set_xlabel("% (green: where it should be)")
    return svg(figure)


def reasons(tally: Tally) -> Any:
    """The reasons for no verdict."""
    counted = tally.reasons.most_common()[::-1]
    figure, axes = axes_of(WIDE, 0.8 + 0.34 * len(counted))
    axes.barh([name for name, _ in counted], [count for _, count in counted], color=RED, alpha=0.75, height=0.55)
    axes.set_xlabel("comparisons without a verdict")
    return svg(figure)


def _short(name: str) -> str:
    return name if len(name) <= 30 else "…" + name[-29:]
