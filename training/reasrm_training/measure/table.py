"""Evaluations as a table: Markdown for a card, cells for a page."""

from __future__ import annotations

from collections.abc import Mapping

from reasrm_training.measure.evaluate import Estimate, Evaluation

#: How the numbers in a table were measured, to follow the number of pairs.
MEASURED_BY = (
    "held-out pairs, each judged in both orders, greedily; a reply without a verdict counts as wrong. Percent, with standard "
    "errors over pairs. T 1: one sampled reply; voting@k: the majority of k."
)


def cells(evaluations: Mapping[str, Evaluation]) -> list[list[str]]:
    """The head of the table, and a row for each evaluation, in percent with standard errors."""
    votes = sorted({k for evaluation in evaluations.values() for k in evaluation.voting})
    head = [
        "judge",
        "pairs",
        "accuracy",
        "order consistency",
        "format",
        "no verdict",
        "P(A)",
        "T 1",
        *(f"voting@{k}" for k in votes),
    ]
    rows = [head]
    for name, evaluation in evaluations.items():
        greedy = evaluation.greedy
        shares = [greedy.accuracy, greedy.order_consistency, greedy.format, greedy.no_verdict, greedy.p_a, evaluation.sampled]
        voting = [evaluation.voting.get(k) for k in votes]
        rows.append([name, f"{evaluation.pairs:,}", *map(percent, [*shares, *voting])])
    return rows


def table(evaluations: Mapping[str, Evaluation]) -> str:
    """The evaluations as Markdown."""
    head, *rows = ["| " + " | ".join(row) + " |" for row in cells(evaluations)]
    return "\n".join([head, "|" + " --- |" * (head.count("|") - 1), *rows])


def percent(share: Estimate | None) -> str:
    """A share in percent, with its standard error; a dash where there is none."""
    if share is None or share.value is None:
        return "–"
    error = f" ± {100 * share.stderr:.1f}" if share.stderr is not None else ""
    return f"{100 * share.value:.1f}{error}"
