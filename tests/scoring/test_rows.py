"""A row is judged in its own frame, in every order that the judge saw; its errors stay in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reasrm.datasets import DataRow, Example
from reasrm.errors import ConfigurationError, InputError, Refused, TooLong
from reasrm.judging import EngineJudge
from reasrm.prompts import load_pack
from reasrm.results import Compared, Scored, drawn_order
from reasrm.scoring.rows import How, judge_row
from reasrm.scoring.run import line_of
from reasrm.testing import FixedJudge, ScriptedCompleter
from reasrm.types import Judgment, NoVerdict, Opinion, Options, Pair, Reading, Verdict


def entry(index: int = 0, **fields: Any) -> DataRow:
    made: dict[str, Any] = {"id": "x", "question": "q?", "responses": ["good", "bad"], "labels": (1.0, 0.0)} | fields
    return DataRow(index, "f", index + 1, {}, Example.model_validate(made))


def likes(text: str) -> FixedJudge:
    """A judge that prefers a response that begins with `text`, by 0.9."""

    def probability(pair: Pair) -> float:
        return 0.9 if pair.a[0].content.startswith(text) else 0.1 if pair.b[0].content.startswith(text) else 0.6

    return FixedJudge(probability)


ONE, BOTH = How(Options(orders="ab")), How(Options())


@pytest.mark.parametrize("index", range(12))
async def test_a_pair_in_one_order_is_shown_in_its_drawn_order_and_reported_in_its_own(index: int) -> None:
    row = await judge_row(entry(index), likes("good"), ONE)
    assert row.only is not None
    assert (row.only.winner, row.only.probability_a) == ("A", pytest.approx(0.9))
    assert [game.order for game in row.only.games] == [drawn_order(f"{index}:0:1")]
    assert row.correct(row.only) is True


async def test_a_judge_that_always_names_the_first_is_right_half_the_time_in_one_order() -> None:
    rows = [await judge_row(entry(index), FixedJudge(lambda _: 0.9), ONE) for index in range(300)]
    assert 110 < sum(row.correct(row.comparisons[0]) is True for row in rows) < 190


async def test_every_comparison_of_a_row_is_made() -> None:
    example = entry(responses=["good", "good too", "bad", "worse"], labels=(1, 1, 0, 0), comparisons=((0, 2), (3, 1)))
    row = await judge_row(example, likes("good"), BOTH)
    assert [(comparison.i, comparison.j, comparison.winner) for comparison in row.comparisons] == [(0, 2, "A"), (3, 1, "B")]
    assert row.lengths == (4, 8, 3, 5)
    assert row.rewards is None


async def test_a_group_without_comparisons_is_ranked() -> None:
    row = await judge_row(entry(responses=["bad", "good", "worse"], labels=(0, 1, 0)), likes("good"), ONE)
    assert row.rewards is not None
    assert max(range(3), key=lambda i: row.rewards[i] or -9) == 1


async def test_a_bad_row_is_reported_and_costs_nothing() -> None:
    judge = likes("good")
    row = await judge_row(DataRow(3, "f", 4, {}, None, "a is null"), judge, BOTH)
    assert (row.index, row.row, row.error, row.comparisons) == (3, 4, "a is null", ())
    assert judge.judged == 0


class Raises:
    def __init__(self, error: Exception) -> None:
        self._error = error

    async def judge(self, pair: Pair, options: Options) -> Judgment:
        raise self._error


@pytest.mark.parametrize("responses", [["good", "bad"], ["good", "bad", "worse"]])
async def test_a_pair_too_long_for_the_judge_has_no_verdict(responses: list[str]) -> None:
    judge = EngineJudge(ScriptedCompleter([TooLong("9 tokens; it takes 8")]), load_pack("rubric"), b"key")
    row = await judge_row(entry(responses=responses, labels=None), judge, BOTH)
    assert {compared.reason for compared in row.comparisons} == {"too_long"}
    assert row.error == ""


@pytest.mark.parametrize("comparisons", [(), ((0, 1), (0, 2))])
async def test_a_row_that_the_judge_refuses_is_a_bad_row(comparisons: tuple[tuple[int, int], ...]) -> None:
    example = entry(responses=["good", "bad", "worse"], labels=None, comparisons=comparisons)
    row = await judge_row(example, Raises(InputError("rubric: too odd")), BOTH)
    assert row.error == "rubric: too odd"


@pytest.mark.parametrize("comparisons", [(), ((0, 1), (0, 2))])
async def test_an_error_that_stops_every_row_is_not_recorded_for_one_row(comparisons: tuple[tuple[int, int], ...]) -> None:
    example = entry(responses=["good", "bad", "worse"], labels=None, comparisons=comparisons)
    with pytest.raises(Refused, match="patience"):
        await judge_row(example, Raises(Refused("out of patience")), BOTH)
    with pytest.raises(ConfigurationError, match="key"):
        await judge_row(example, Raises(ConfigurationError("wrong key")), BOTH)


def test_a_flipped_judgment_is_reported_in_the_rows_frame() -> None:
    verdict = Verdict(winner="A", probability_a=0.8, source="logprobs")
    opinions = (
        Opinion(order="ab", outcome=verdict, reading=Reading(), reply="first"),
        Opinion(order="ba", outcome=NoVerdict(reason="refused"), reading=Reading(), reply="second"),
    )
    comparison = Compared.of(0, 1, Judgment(outcome=verdict, opinions=opinions), flipped=True)
    assert (comparison.winner, comparison.probability_a) == ("B", pytest.approx(0.2))
    assert [(game.order, game.winner, game.reason) for game in comparison.games] == [("ba", "B", None), ("ab", None, "refused")]
    assert comparison.order_consistent is None


async def test_a_row_survives_being_written_and_read() -> None:
    row = await judge_row(entry(responses=["bad", "good", "worse"], labels=None), likes("good"), BOTH)
    assert Scored.read(row.flat()) == row
    pair = await judge_row(entry(), likes("good"), BOTH)
    flat = pair.flat()
    assert (flat["winner"], flat["correct"], flat["order_consistent"], flat["reason"]) == ("A", True, True, None)


async def test_half_of_a_surrogate_pair_in_a_reply_costs_the_character_and_not_the_row() -> None:
    row = await judge_row(entry(id="ü"), likes("good"), BOTH)
    assert row.only is not None
    games = tuple(game.model_copy(update={"reply": "cut \ud83d"}) for game in row.only.games)
    cut = row.model_copy(update={"comparisons": (row.only.model_copy(update={"games": games}),)})
    whole, mended = (json.loads(line_of(result)) for result in (row, cut))
    assert [game.pop("reply") for game in mended["comparisons"][0]["games"]] == ["cut ?", "cut ?"]
    for game in whole["comparisons"][0]["games"]:
        del game["reply"]
    assert mended == whole
