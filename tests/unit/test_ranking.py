"""Rankings of groups: the comparisons of each method, the use of the answers, and that nothing is invented."""

from __future__ import annotations

import asyncio
import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from reasrm.errors import EngineUnreachable, InputError, TooLong
from reasrm.judging.group import Budget, Group, RankOptions, Totals, duplicates
from reasrm.judging.ranking import METHODS, Match, rank
from reasrm.judging.swiss import readings_needed
from reasrm.testing import FixedJudge
from reasrm.types import Judgment, NoVerdict, Options, Pair, Usage
from tests.unit.groups import by_number, drive, group, judged, strength

ALL = sorted(METHODS)


NONE = Judgment(outcome=NoVerdict(reason="engine_failed"))


@pytest.mark.parametrize("method", ALL)
async def test_every_method_finds_the_best_of_eight_and_all_but_the_knockout_their_order(method: str) -> None:
    strengths = (0.0, 3.0, -2.0, 5.0, 1.0, -4.0, 2.0, -1.0)
    ranking = await rank(group(*strengths), RankOptions(method=method), FixedJudge(by_number()))
    assert ranking.order[0] == 3
    assert ranking.method == method
    if method != "knockout":
        assert [strengths[i] for i in ranking.order] == sorted(strengths, reverse=True)


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("n", [1, 2, 3, 5, 64])
@pytest.mark.parametrize("orders", ["ab", "both"])
async def test_any_group_size_ends_with_one_standing_a_response_within_all_pairs(method: str, n: int, orders: str) -> None:
    judge = FixedJudge(by_number())
    ranking = await rank(group(*(i / 4 for i in range(n))), RankOptions(method=method, orders=orders), judge)
    assert [standing.index for standing in ranking.standings] == list(range(n))
    assert judge.judged == len(ranking.comparisons) <= n * max(1, n - 1)
    if n == 1:
        assert ranking.rewards == [None]
        assert ranking.order == ()
    else:
        assert all(reward is not None and -1 < reward < 1 for reward in ranking.rewards)
        assert {standing.index for standing in ranking.standings if standing.comparisons == 0} == set()


@pytest.mark.parametrize(("method", "comparisons"), [("all_pairs", 28), ("circle", 8), ("knockout", 7), ("swiss", 28)])
async def test_the_methods_cost_what_their_documentation_says(method: str, comparisons: int) -> None:
    ranking = await rank(group(*range(8)), RankOptions(method=method), FixedJudge(by_number()))
    assert len(ranking.comparisons) == comparisons


def test_a_circle_shows_each_response_once_first_and_once_second() -> None:
    _, [wave] = drive(group(*range(6)), RankOptions(method="circle"), lambda _: judged(0.6))
    assert sorted(match.i for match in wave) == sorted(match.j for match in wave) == list(range(6))


@pytest.mark.parametrize("method", ["circle", "swiss", "all_pairs"])
async def test_a_position_bias_does_not_change_the_ranking(method: str) -> None:
    strengths = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    fair = await rank(group(*strengths), RankOptions(method=method), FixedJudge(by_number()))
    biased = await rank(group(*strengths), RankOptions(method=method), FixedJudge(by_number(bias=1.5)))
    assert biased.order == fair.order
    if method == "swiss":  # this balances the places; with fewer readings or random places the prior has more weight
        assert biased.rewards == pytest.approx(fair.rewards, abs=0.12)


async def test_single_readings_take_turns_at_the_first_place() -> None:
    ranking = await rank(group(*range(16)), RankOptions(), FixedJudge(by_number()))
    lead = [sum((comparison.i == i) - (comparison.j == i) for comparison in ranking.comparisons) for i in range(16)]
    assert max(map(abs, lead)) <= 2
    assert {opinion.order for comparison in ranking.comparisons for opinion in comparison.judgment.opinions} == {"ab"}


async def test_responses_of_similar_strength_meet_and_others_do_not() -> None:
    ranking = await rank(group(*(2.0 * i for i in range(16))), RankOptions(), FixedJudge(by_number()))
    last_round = ranking.comparisons[-16:]
    assert sum(abs(comparison.i - comparison.j) for comparison in last_round) / 16 < 4.0  # 5.7 if they met by chance


async def test_the_rewards_of_all_pairs_do_not_depend_on_the_order_of_the_group() -> None:
    strengths = [0.3, 2.0, -1.0, 0.7, 1.1, -2.2]
    judge = FixedJudge(by_number(bias=0.8))
    one = await rank(group(*strengths), RankOptions(method="all_pairs"), judge)
    other = await rank(group(*reversed(strengths)), RankOptions(method="all_pairs"), judge)
    assert one.rewards == pytest.approx(list(reversed(other.rewards)), abs=1e-6)
    shown = {(strengths[comparison.i], strengths[comparison.j]) for comparison in one.comparisons}
    assert shown == {(strengths[5 - comparison.i], strengths[5 - comparison.j]) for comparison in other.comparisons}


def test_a_comparison_without_a_verdict_leaves_the_fit_and_a_response_without_verdicts_gets_no_reward() -> None:
    def answer(match: Match) -> Judgment:
        return NONE if 2 in (match.i, match.j) else judged(0.9 if match.i < match.j else 0.1)

    ranking, _ = drive(group(*range(4)), RankOptions(method="all_pairs"), answer)
    assert ranking.rewards[2] is None
    assert ranking.standings[2].stderr is None
    assert ranking.order == (0, 1, 3)
    without, _ = drive(group(0, 1, 3), RankOptions(method="all_pairs"), lambda m: judged(0.9 if m.i < m.j else 0.1))
    assert len(ranking.comparisons) == 6
    assert [r for r in ranking.rewards if r is not None] == pytest.approx(without.rewards, abs=0.15)


@pytest.mark.parametrize("method", ALL)
def test_an_engine_that_is_away_gives_no_reward_at_all(method: str) -> None:
    ranking, _ = drive(group(*range(6)), RankOptions(method=method), lambda _: NONE)
    assert ranking.rewards == [None] * 6
    assert ranking.order == ()
    assert len(ranking.comparisons) <= 30


async def test_responses_equal_up_to_white_space_are_compared_once_and_share_a_reward() -> None:
    of = Group.model_validate({"question": "q", "responses": ["x 1", "y 2", " x 1\n", "z 0", "x 1"]})
    ranking = await rank(of, RankOptions(method="all_pairs"), FixedJudge(by_number()))
    assert len(ranking.comparisons) == 3
    assert [standing.duplicate_of for standing in ranking.standings] == [None, None, 0, None, 0]
    assert ranking.rewards[0] == ranking.rewards[2] == ranking.rewards[4]
    assert ranking.order[0] == 1


async def test_a_group_of_equal_responses_has_nothing_to_compare() -> None:
    ranking = await rank(group(1, 1, 1), RankOptions(), FixedJudge(by_number()))
    assert ranking.comparisons == ()
    assert ranking.rewards == [None, None, None]


def test_near_duplicates_are_folded_only_on_request() -> None:
    long = "the quick brown fox jumps over the lazy dog and runs away into the deep dark forest "
    of = Group.model_validate({"question": "q", "responses": [long * 3, long * 3 + "now", "something else altogether"]})
    assert duplicates(of.responses, None) == [0, 1, 2]
    assert duplicates(of.responses, 0.8) == [0, 0, 2]


def test_programs_that_differ_in_their_indentation_are_different_responses() -> None:
    inside = "for x in y:\n    total += x\n    print(total)\n"
    after = "for x in y:\n    total += x\nprint(total)"
    texts = Group.model_validate({"question": "q", "responses": [inside, after, after + " \n\n", inside.replace("    ", "  ")]})
    assert duplicates(texts.responses, None) == [0, 1, 1, 3]


@given(st.lists(st.sampled_from(["a", "a ", "b", " b", "c"]), min_size=1, max_size=12))
def test_folding_points_to_the_first_of_its_kind(texts: list[str]) -> None:
    of = Group.model_validate({"question": "q", "responses": texts})
    folded = [text.strip() for text in texts]
    assert duplicates(of.responses, None) == [folded.index(text) for text in folded]


async def test_a_reference_is_the_zero_of_the_rewards() -> None:
    ranking = await rank(group(3, 1, 2, reference=2), RankOptions(method="pivot", scale="raw"), FixedJudge(by_number()))
    assert ranking.rewards[0] == pytest.approx(-ranking.rewards[1])
    assert 0.5 < ranking.rewards[0] < 1.0  # one logit, reduced by the prior for a single reading
    assert ranking.rewards[2] == 0.0  # the reference itself
    assert len(ranking.comparisons) == 2


async def test_a_lone_response_is_judged_against_the_reference_or_not_at_all() -> None:
    alone = await rank(group(3), RankOptions(), FixedJudge(by_number()))
    assert alone.rewards == [None]
    against = await rank(group(3, reference=1), RankOptions(), FixedJudge(by_number()))
    assert against.rewards[0] is not None
    assert against.rewards[0] > 0.3


@given(st.sampled_from(ALL), st.integers(2, 20), st.integers(1, 60), st.sampled_from(["ab", "both"]))
@settings(deadline=None, max_examples=60)
def test_a_budget_of_comparisons_is_held(method: str, n: int, most: int, orders: str) -> None:
    options = RankOptions(method=method, orders=orders, budget=Budget(comparisons=most))
    ranking, _ = drive(group(*range(n)), options, lambda match: judged(0.8 if match.i > match.j else 0.2))
    assert len(ranking.comparisons) * (2 if orders == "both" else 1) <= most


@given(st.sampled_from(ALL), st.integers(2, 12), st.integers(1, 3000))
@settings(deadline=None, max_examples=60)
def test_a_budget_of_tokens_is_held_where_comparisons_cost_the_same(method: str, n: int, most: int) -> None:
    options = RankOptions(method=method, budget=Budget(tokens=most))
    ranking, waves = drive(group(*range(n)), options, lambda match: judged(0.8 if match.i > match.j else 0.2, tokens=100))
    assert ranking.usage.completion_tokens <= max(most, 100)
    assert len(waves[0]) == 1  # the cost of one comparison is not known yet


async def test_the_swiss_method_makes_more_comparisons_with_a_larger_budget() -> None:
    ranking = await rank(group(*range(8)), RankOptions(budget=Budget(comparisons=50)), FixedJudge(by_number()))
    assert len(ranking.comparisons) == 50


def test_with_reuse_the_first_comparison_goes_alone_and_all_others_continue_its_deliberation() -> None:
    reply = "<type>Chat</type>\n<rubric>1. short (100%)</rubric>\n<eval>...</eval><answer>[[A]]</answer>"
    ranking, waves = drive(group(*range(4)), RankOptions(), lambda _: judged(0.7, reply=reply), reuse=True)
    assert len(waves[0]) == 1
    assert waves[0][0].options.deliberation is None
    later = [match.options.deliberation for wave in waves[1:] for match in wave]
    assert later == ["<type>Chat</type>\n<rubric>1. short (100%)</rubric>"] * (len(ranking.comparisons) - 1)


def test_reuse_can_be_refused_and_a_given_deliberation_goes_to_all() -> None:
    _, waves = drive(group(*range(4)), RankOptions(reuse=False), lambda _: judged(0.7, reply="<rubric>r</rubric>"), reuse=True)
    assert len(waves[0]) > 1
    _, waves = drive(group(*range(4)), RankOptions(deliberation="<rubric>mine</rubric>"), lambda _: judged(0.7), reuse=True)
    assert {match.options.deliberation for wave in waves for match in wave} == {"<rubric>mine</rubric>"}


async def test_the_options_of_judging_reach_the_judge_as_plain_options() -> None:
    seen: list[Options] = []

    class Recording(FixedJudge):
        async def judge(self, pair: Pair, options: Options) -> Judgment:
            seen.append(options)
            return await super().judge(pair, options)

    await rank(group(1, 2), RankOptions(votes=3, temperature=0.7, seed=5), Recording(by_number()))
    assert set(seen) == {Options(orders="ab", votes=3, temperature=0.7, seed=5)}
    assert type(seen[0]) is Options


async def test_a_pair_too_long_for_the_judge_costs_nobody_else_the_reward() -> None:
    def probability(pair: Pair) -> float | None:
        if strength(pair, "A") == 9 or strength(pair, "B") == 9:
            raise TooLong("40016 tokens; the judge's context holds 8192", count=40016, limit=8192)
        return by_number()(pair)

    ranking = await rank(group(1, 9, 2, 3), RankOptions(method="all_pairs"), FixedJudge(probability))
    assert ranking.rewards[1] is None
    assert ranking.order == (3, 2, 0)
    reasons = {
        comparison.judgment.outcome.reason
        for comparison in ranking.comparisons
        if isinstance(comparison.judgment.outcome, NoVerdict)
    }
    assert reasons == {"too_long"}


async def test_at_the_deadline_the_finished_comparisons_give_the_ranking_and_no_more_start() -> None:
    hanging = 0

    class Slow(FixedJudge):
        async def judge(self, pair: Pair, options: Options) -> Judgment:
            nonlocal hanging
            if self.judged >= 12:
                hanging += 1
                await asyncio.Event().wait()
            return await super().judge(pair, options)

    deadline = asyncio.get_running_loop().time() + 0.05
    ranking = await rank(group(*range(8)), RankOptions(), Slow(by_number()), deadline=deadline)
    assert hanging == 4
    assert all(reward is not None for reward in ranking.rewards)
    late = [comparison for comparison in ranking.comparisons if isinstance(comparison.judgment.outcome, NoVerdict)]
    assert {comparison.judgment.outcome.reason for comparison in late} == {"deadline"}
    assert len(ranking.comparisons) - len(late) == 12


async def test_an_engine_that_fails_gives_no_verdict_and_a_refused_pair_says_why() -> None:
    def down(_: Pair) -> float:
        raise EngineUnreachable("nothing answers")

    ranking = await rank(group(1, 2, 3), RankOptions(), FixedJudge(down))
    assert ranking.rewards == [None] * 3

    def refuse(_: Pair) -> float:
        raise InputError("no", field="a")

    with pytest.raises(InputError, match="no"):
        await rank(group(1, 2, 3), RankOptions(), FixedJudge(refuse))


def test_a_knockout_goes_on_when_some_verdicts_are_missing() -> None:
    calls = iter(range(100))

    def answer(match: Match) -> Judgment:
        return NONE if next(calls) % 3 == 0 else judged(0.9 if match.i > match.j else 0.1)

    ranking, _ = drive(group(*range(8)), RankOptions(method="knockout"), answer)
    assert ranking.rewards[7] is not None
    assert ranking.order[0] == 7


def test_a_pivot_without_reference_is_the_middle_of_a_first_circle() -> None:
    ranking, waves = drive(group(*range(9)), RankOptions(method="pivot"), lambda m: judged(1 / (1 + math.exp(m.j - m.i))))
    assert len(waves) == 2
    pivots = set.intersection(*({match.i, match.j} for match in waves[1]))
    assert pivots == {4}
    assert len(ranking.comparisons) == 9 + 6


def test_a_ranking_from_a_cache_spends_nothing_and_gives_the_same_rewards_under_a_budget() -> None:
    def cached(match: Match) -> Judgment:
        return answer(match).model_copy(update={"cached": True})

    def answer(match: Match) -> Judgment:
        return judged(by_number()(match.pair), tokens=100).model_copy(update={"seconds": 2.0})

    options = RankOptions(budget=Budget(tokens=900))
    first, _ = drive(group(*range(6)), options, answer)
    again, _ = drive(group(*range(6)), options, cached)
    assert first.usage.completion_tokens == 100 * len(first.comparisons)
    assert first.cached == 0
    assert again.rewards == first.rewards
    assert (again.usage, again.seconds) == (Usage(), 0.0)
    totals = Totals.of(again)
    assert totals.cached == len(again.comparisons) == len(first.comparisons)
    assert (totals.prompt_tokens, totals.completion_tokens, totals.seconds) == (0, 0, 0.0)


def test_the_default_number_of_readings_grows_slower_than_the_pairs() -> None:
    shares = [readings_needed(n) / (n * (n - 1)) for n in (4, 8, 16, 32, 64)]
    assert shares[1] <= 0.5
    assert shares[2] <= 0.35
    assert all(later < earlier for earlier, later in pairwise(shares[1:]))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"responses": []}, "responses"),
        ({"responses": ["x"] * 65}, "responses"),
        ({"responses": ["x", " "]}, "responses"),
        ({"responses": ["x"], "question": ""}, "question"),
        ({"responses": ["x"], "references": "y"}, "references"),
    ],
)
def test_a_bad_group_is_refused_by_the_name_of_its_field(fields: dict, named: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Group.model_validate({"question": "q"} | fields)
    assert caught.value.errors()[0]["loc"][0] == named


def test_an_empty_budget_is_refused() -> None:
    with pytest.raises(ValidationError, match="comparisons"):
        Budget()
