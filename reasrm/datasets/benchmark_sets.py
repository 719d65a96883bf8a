"""Readers of the published benchmarks: a row into the fields of an `Example`. How they are scored stands in `reasrm.benchmarks`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from reasrm.datasets.own import winner_labels
from reasrm.datasets.values import Row, cell, content, items, name, text, texts, turns
from reasrm.errors import InputError


def rewardbench(row: Row) -> dict[str, Any]:
    """RewardBench (arXiv 2403.13787)."""
    responses = [text(row, "chosen"), text(row, "rejected")]
    found = {"id": name(row, "id"), "question": content(row, "prompt"), "subset": text(row, "subset")}
    return found | {"responses": responses, "labels": (1.0, 0.0)}


def rewardbench2(row: Row) -> dict[str, Any]:
    """RewardBench 2 (arXiv 2506.01937): correct responses first; all are ranked, since its scores are of all at once."""
    fields = _every_chosen_against_every_rejected(row) | {"comparisons": ()}
    return fields | {"id": name(row, "id"), "question": content(row, "prompt"), "subset": text(row, "subset")}


def rm_bench(row: Row) -> dict[str, Any]:
    """RM-Bench (arXiv 2410.16184): three styles of a right and of a wrong response, all nine comparisons.

    The domain is the column `domain`, or, in the files as published, the file's name.
    """
    found = {"id": name(row, "id"), "question": content(row, "prompt"), "subset": name(row, "domain")}
    fields = _every_chosen_against_every_rejected(row)
    if len(fields["responses"]) != 6 or len(fields["comparisons"]) != 9:
        raise InputError("chosen and rejected must hold three responses each", field="chosen")
    return found | fields


def _every_chosen_against_every_rejected(row: Row) -> dict[str, Any]:
    chosen, rejected = texts(row, "chosen"), texts(row, "rejected")
    return {
        "responses": [*chosen, *rejected],
        "labels": [1.0] * len(chosen) + [0.0] * len(rejected),
        "comparisons": [(i, len(chosen) + j) for i in range(len(chosen)) for j in range(len(rejected))],
    }


def rmb_pairwise(row: Row) -> dict[str, Any]:
    """RMB, pairwise (arXiv 2410.09893). The subset is its category, such as Pairwise_set/Helpfulness/Chat/Discussion."""
    responses = [_answer(cell(row, "chosen"), "chosen"), _answer(cell(row, "reject"), "reject")]
    return _rmb(row, "pair_uid") | {"responses": responses, "labels": (1.0, 0.0)}


def rmb_best_of_n(row: Row) -> dict[str, Any]:
    """RMB, best-of-N: the best response against each of the others."""
    losers = [_answer(loser, f"loser_list[{i}]") for i, loser in enumerate(items(row, "loser_list"))]
    responses = [_answer(cell(row, "bon_best"), "bon_best"), *losers]
    labels = [1.0] + [0.0] * len(losers)
    return _rmb(row, "bon_uid") | {
        "responses": responses,
        "labels": labels,
        "comparisons": [(0, 1 + j) for j in range(len(losers))],
    }


def _rmb(row: Row, uid: str) -> dict[str, Any]:
    return {"id": name(row, uid), "question": turns(row, "conversation_input"), "subset": name(row, "category_path")}


def _answer(value: Any, column: str) -> str:
    if not isinstance(value, Mapping):
        raise InputError(f"{column} holds no answer", field=column)
    return text(cast(Row, value), "answer")


def judgebench(row: Row) -> dict[str, Any]:
    """JudgeBench (arXiv 2410.12784)."""
    said = text(row, "label")
    labels = {"A>B": (1.0, 0.0), "B>A": (0.0, 1.0)}.get(said)
    if labels is None:
        raise InputError(f"label is {said!r}, not A>B or B>A", field="label")
    responses = [text(row, "response_A"), text(row, "response_B")]
    found = {"id": text(row, "pair_id"), "question": content(row, "question"), "subset": text(row, "source")}
    return found | {"responses": responses, "labels": labels}


def ppe_correctness(row: Row) -> dict[str, Any]:
    """PPE, correctness (arXiv 2410.14872): up to 32 responses, of which pairs that differ in correctness are compared."""
    labels = [float(score) for score in items(row, "scores")]
    responses = [text(row, f"response_{i + 1}") for i in range(len(labels))]
    comparisons = [tuple(int(index) for index in pair) for pair in items(row, "sampled_conflict_pairs")]
    found = {"id": name(row, "question_id"), "question": content(row, "prompt"), "subset": name(row, "benchmark")}
    return found | {"responses": responses, "labels": labels, "comparisons": comparisons}


def ppe_human(row: Row) -> dict[str, Any]:
    """PPE, human preference (arXiv 2410.14872)."""
    responses = [content(row, "response_1"), content(row, "response_2")]
    found = {"id": name(row, "question_id"), "question": content(row, "prompt"), "subset": name(row, "language")}
    return found | {"responses": responses, "labels": winner_labels(row, "winner")}
