"""Readers of the published benchmarks: a row into the fields of an `Example`. `reasrm.benchmarks` scores them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from reasrm.datasets.conversations import question, responses, turns
from reasrm.datasets.values import Row, cell, items, items_of, name, number_of, numbers, text, texts
from reasrm.datasets.winners import winner_labels
from reasrm.errors import InputError


def rewardbench(row: Row) -> dict[str, Any]:
    """RewardBench (arXiv 2403.13787)."""
    both = [text(row, "chosen"), text(row, "rejected")]
    about = {"id": name(row, "id"), "question": question(row, "prompt"), "subset": text(row, "subset")}
    return about | {"responses": both, "labels": (1.0, 0.0)}


def rewardbench2(row: Row) -> dict[str, Any]:
    """RewardBench 2 (arXiv 2506.01937): correct responses first. All are ranked, because its scores need all rewards."""
    fields = _every_chosen_against_every_rejected(row) | {"comparisons": ()}
    return fields | {"id": name(row, "id"), "question": question(row, "prompt"), "subset": text(row, "subset")}


def rm_bench(row: Row) -> dict[str, Any]:
    """RM-Bench (arXiv 2410.16184): three styles of a right and of a wrong response, all nine comparisons.

    The domain is the column `domain`; in the published files it is the file's name.
    """
    about = {"id": name(row, "id"), "question": question(row, "prompt"), "subset": name(row, "domain")}
    fields = _every_chosen_against_every_rejected(row)
    if len(fields["responses"]) != 6 or len(fields["comparisons"]) != 9:
        raise InputError("chosen and rejected must hold three responses each", field="chosen")
    return about | fields


def _every_chosen_against_every_rejected(row: Row) -> dict[str, Any]:
    chosen, rejected = texts(row, "chosen"), texts(row, "rejected")
    return {
        "responses": [*chosen, *rejected],
        "labels": [1.0] * len(chosen) + [0.0] * len(rejected),
        "comparisons": [(i, len(chosen) + j) for i in range(len(chosen)) for j in range(len(rejected))],
    }


def rmb_pairwise(row: Row) -> dict[str, Any]:
    """RMB, pairwise (arXiv 2410.09893). The subset is its category, such as Pairwise_set/Helpfulness/Chat/Discussion."""
    both = [_answer(cell(row, "chosen"), "chosen"), _answer(cell(row, "reject"), "reject")]
    return _rmb(row, "pair_uid") | {"responses": both, "labels": (1.0, 0.0)}


def rmb_best_of_n(row: Row) -> dict[str, Any]:
    """RMB, best-of-N: the best response against each of the others."""
    losers = [_answer(loser, f"loser_list[{i}]") for i, loser in enumerate(items(row, "loser_list"))]
    return _rmb(row, "bon_uid") | {
        "responses": [_answer(cell(row, "bon_best"), "bon_best"), *losers],
        "labels": [1.0] + [0.0] * len(losers),
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
    label = text(row, "label")
    labels = {"A>B": (1.0, 0.0), "B>A": (0.0, 1.0)}.get(label)
    if labels is None:
        raise InputError(f"label is {label!r}, not A>B or B>A", field="label")
    both = [text(row, "response_A"), text(row, "response_B")]
    about = {"id": text(row, "pair_id"), "question": question(row, "question"), "subset": text(row, "source")}
    return about | {"responses": both, "labels": labels}


def ppe_correctness(row: Row) -> dict[str, Any]:
    """PPE, correctness (arXiv 2410.14872): up to 32 responses, of which pairs that differ in correctness are compared."""
    labels = numbers(row, "scores")
    sampled = [text(row, f"response_{i + 1}") for i in range(len(labels))]
    comparisons = [_indices(pair, f"sampled_conflict_pairs[{i}]") for i, pair in enumerate(items(row, "sampled_conflict_pairs"))]
    about = {"id": name(row, "question_id"), "question": question(row, "prompt"), "subset": name(row, "benchmark")}
    return about | {"responses": sampled, "labels": labels, "comparisons": comparisons}


def _indices(pair: Any, where: str) -> tuple[int, ...]:
    values = [number_of(index, where) for index in items_of(pair, where)]
    if not all(value.is_integer() for value in values):
        raise InputError(f"{where} holds {values}, which are not indices of responses", field=where)
    return tuple(int(value) for value in values)


def ppe_human(row: Row) -> dict[str, Any]:
    """PPE, human preference (arXiv 2410.14872)."""
    both = responses([cell(row, "response_1"), cell(row, "response_2")], ["response_1", "response_2"])
    about = {"id": name(row, "question_id"), "question": question(row, "prompt"), "subset": name(row, "language")}
    return about | {"responses": both, "labels": winner_labels(row, "winner")}
