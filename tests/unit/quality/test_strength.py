"""Strength is computed from the judgments: by probability, over judges, over replies; never invented."""

from __future__ import annotations

import random
from typing import Any

import pytest

from reasrm.datasets import DataRow, Example
from reasrm.errors import InputError
from reasrm.quality import Repeated, kept_from, strengths
from reasrm.results import Compared, Game, JudgeIdentity, Scored
from reasrm.types import Judgment, NoVerdict, Opinion, Options, Pair, Reading, Side, Verdict


def judged(index: int, probability: float | None, preferred: Side = "A", votes: str = "") -> Scored:
    winner: Side | None = None if probability is None else ("A" if probability > 0.5 else "B")
    games = tuple(Game(order="ab", winner="A" if vote == "A" else "B") for vote in votes)
    compared = Compared(i=0, j=1, winner=winner, probability_a=probability, games=games)
    labels = (1.0, 0.0) if preferred == "A" else (0.0, 1.0)
    return Scored(index=index, file="f", row=index + 1, id=str(index), labels=labels, lengths=(1, 1), comparisons=(compared,))


def test_one_judges_strength_is_its_lean_to_the_label_and_its_spread_that_of_its_replies() -> None:
    rows = [judged(0, 0.9, "A", "AAAB"), judged(1, 0.9, "B", "AA"), judged(2, None)]
    first, second, third = strengths([rows])
    assert first.strength == pytest.approx(0.8)
    assert first.spread == pytest.approx(1.0)
    assert second.strength == pytest.approx(-0.8)
    assert second.spread == 0.0
    assert (third.strength, third.spread, third.replies) == (None, None, 0)


def test_several_judges_give_mean_and_spread_over_those_with_a_verdict() -> None:
    (row,) = strengths([[judged(0, 0.9)], [judged(0, 0.6)], [judged(0, None)]])
    assert row.strength == pytest.approx(0.5)
    assert row.spread == pytest.approx(0.4243, abs=1e-4)
    assert row.judges == (pytest.approx(0.8), pytest.approx(0.2), None)


def test_judgments_of_other_rows_are_refused() -> None:
    with pytest.raises(InputError, match="not of the same rows: f, row 1"):
        list(strengths([[judged(0, 0.9)], [judged(1, 0.9)]]))
    with pytest.raises(ValueError, match="zip"):
        list(strengths([[judged(0, 0.9)], []]))


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({}, True),
        ({"model": "other"}, False),
        ({"id": "7"}, False),
        ({"lengths": (1, 2)}, False),
        ({"labels": (0.0, 1.0)}, False),
        ({"comparisons": judged(0, 0.9, votes="AAAA").comparisons}, False),
        ({"comparisons": judged(0, None).comparisons}, True),  # longer than the judge can read
    ],
)
def test_judgments_are_kept_only_of_these_rows_by_this_judge_with_as_many_votes(change: dict[str, Any], kept: bool) -> None:
    row = judged(0, 0.9, votes="AA").model_copy(update={"model": "m", "prompt_digest": "p"} | change)
    example = Example(id="0", question="q", responses=("a", "b"), labels=(1.0, 0.0))
    entries = [DataRow(0, "f", 1, {}, example)]
    assert kept_from([row], entries, JudgeIdentity("m", "", "p"), 2) is kept
    assert not kept_from([row, row], entries, JudgeIdentity("m", "", "p"), 2)
    assert not kept_from([], entries, JudgeIdentity("m", "", "p"), 2)


class Noisy:
    """Names A with the probability, by its seed."""

    def __init__(self, probability: float) -> None:
        self._probability = probability
        self.seeds: list[int] = []

    async def judge(self, pair: Pair, options: Options) -> Judgment:
        self.seeds.append(options.seed)
        roll = random.Random(options.seed).random()
        if roll > 0.95:
            return Judgment(outcome=NoVerdict(reason="no_answer"))
        verdict = Verdict(
            winner="A" if roll < self._probability else "B", probability_a=float(roll < self._probability), source="votes"
        )
        return Judgment(outcome=verdict, opinions=(Opinion(order="ab", outcome=verdict, reading=Reading(), reply=""),))


async def test_rounds_differ_by_seed_and_their_mean_is_the_probability() -> None:
    judge = Noisy(0.7)
    judgment = await Repeated(judge, 200).judge(Pair.of("q", "a", "b"), Options(seed=5))
    assert judge.seeds == list(range(5, 205))
    assert judgment.probability_a == pytest.approx(0.7 / 0.95, abs=0.08)
    assert len(judgment.opinions) > 150
