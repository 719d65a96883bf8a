"""The rule for the domain of the embedded judge, counted over published pairs and over held-out tasks (LAB.md)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import reasrm_serving
from reasrm_serving.engines.domain import load_domain
from reasrm_training.world import FAMILIES, generate

from reasrm.datasets import DataSet
from reasrm.types import Pair

PUBLISHED = {"rm-bench": 3213, "rmb/Pairwise_set": 2255, "rmb/BoN_set": 1064}


def accepted(pairs: Iterable[Pair]) -> int:
    why_outside = load_domain(Path(reasrm_serving.__file__).parent / "judge")
    assert why_outside is not None
    return sum(why_outside(pair) is None for pair in pairs)


def published_pairs(folder: Path) -> Iterator[Pair]:
    for entry in DataSet(folder):
        assert entry.example is not None
        yield from (entry.example.pair(i, j) for i, j in entry.example.comparisons_to_judge)


def test_every_held_out_task_is_inside_in_both_orders() -> None:
    tasks = generate(61, 2000, "heldout")
    assert {task.family for task in tasks} == set(FAMILIES)
    pairs = [Pair.of(task.question, task.chosen, task.rejected) for task in tasks]
    assert accepted(pairs) == accepted(pair.swapped() for pair in pairs) == 2000


@pytest.mark.parametrize("folder", PUBLISHED)
def test_no_published_pair_is_recognised_as_a_task(shared_data: Path, folder: str) -> None:
    pairs = list(published_pairs(shared_data / folder))
    assert len(pairs) == PUBLISHED[folder]
    assert accepted(pairs) == 0


def test_no_published_response_is_recognised_as_an_answer_to_a_task(shared_data: Path) -> None:
    """A question of the judge's own, its right answer, and a real response or a real judge's reply in place of the wrong one."""
    replies = [json.loads(line)["reply"] for line in (shared_data / "rm_r1_replies.jsonl").read_text("utf-8").splitlines()]
    responses = replies + [pair.a[0].content for folder in PUBLISHED for pair in published_pairs(shared_data / folder)]
    tasks = generate(81, len(responses), "heldout")
    pairs = [Pair.of(task.question, task.chosen, response) for task, response in zip(tasks, responses, strict=True)]
    assert len(pairs) == 6536
    assert accepted(pairs) == 0
