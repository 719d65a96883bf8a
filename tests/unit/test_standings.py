"""Rewards from comparisons: the fit of readings, and the places that follow."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasrm.judging.bradley_terry import Duel, duels_of, fit
from reasrm.judging.group import Group, RankOptions
from reasrm.judging.ranking import Match, rank
from reasrm.testing import FixedJudge
from reasrm.types import Judgment, NoVerdict, Opinion, Options, Pair, Reading, Verdict
from tests.unit.groups import by_number, drive, group, judged, judged_both


def test_strengths_are_recovered_from_exact_probabilities_and_their_errors_shrink_with_readings() -> None:
    truth = [-1.0, 0.0, 1.0]

    def duels(times: int) -> list[Duel]:
        return [Duel(i, j, 1 / (1 + math.exp(truth[j] - truth[i] - 0.5))) for i in range(3) for j in range(3) if i != j] * times

    estimate = fit(3, duels(100))
    theta, errors = estimate.against(None)
    assert theta == pytest.approx(truth, abs=0.02)
    assert estimate.bias == pytest.approx(0.5, abs=0.02)
    _, few = fit(3, duels(4)).against(None)
    assert errors[0] == pytest.approx(few[0] / 5, rel=0.1)


def test_the_fit_agrees_with_choix_on_votes() -> None:
    choix = pytest.importorskip("choix")
    wins = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1), (0, 1), (1, 2), (0, 2), (0, 2)]
    votes = [Duel(*win, 1.0) for win in wins] + [Duel(loser, winner, 0.0) for winner, loser in wins]
    theirs = choix.ilsr_pairwise(3, wins + wins, alpha=0.0)
    ours, _ = fit(3, votes).against(None)
    assert ours == pytest.approx(list(theirs), abs=0.06)  # they differ by the weak prior


def test_unanimous_votes_give_finite_strengths() -> None:
    theta, errors = fit(2, [Duel(0, 1, 1.0)] * 50).against(None)
    assert theta[0] == -theta[1]
    assert 1 < theta[0] < 10
    assert errors[0] > 0.1


@pytest.mark.parametrize("scale", ["unit", "raw"])
async def test_both_scales_order_alike_and_unit_stays_within_one(scale: str) -> None:
    ranking = await rank(group(*(5.0 * i for i in range(6))), RankOptions(method="all_pairs", scale=scale), FixedJudge(by_number()))
    assert ranking.order == (5, 4, 3, 2, 1, 0)
    assert (max(ranking.rewards) < 1) == (scale == "unit")
    assert all(standing.stderr is not None and standing.stderr > 0 for standing in ranking.standings)
    assert scale == "unit" or sum(ranking.rewards) == pytest.approx(0, abs=1e-6)


def test_both_orders_are_two_readings_and_the_pairs_frame_is_kept() -> None:
    a, b = judged(0.9), judged(0.6, order="ba")
    both = a.model_copy(update={"opinions": a.opinions + b.opinions})
    first, second = duels_of(4, 7, both)
    assert (first.first, first.second, first.probability) == (4, 7, 0.9)
    assert (second.first, second.second) == (7, 4)
    assert second.probability == pytest.approx(0.4)
    assert duels_of(4, 7, Judgment(outcome=a.outcome)) == [Duel(4, 7, 0.9)]
    assert duels_of(4, 7, both.model_copy(update={"outcome": NoVerdict(reason="engine_failed")})) == []
    assert duels_of(4, 7, Judgment(outcome=NoVerdict(reason="split"))) == []


def test_a_judgment_whose_orders_cancel_gives_the_fit_both_readings() -> None:
    ab, ba = judged(1.0), judged(0.0, order="ba")
    split = Judgment(outcome=NoVerdict(reason="split"), opinions=ab.opinions + ba.opinions)
    assert duels_of(0, 1, split) == [Duel(0, 1, 1.0), Duel(1, 0, 1.0)]


async def test_a_vote_only_judge_with_a_position_bias_loses_no_comparison_and_its_bias_is_fitted() -> None:
    chance = random.Random(3)

    class Votes:
        async def judge(self, pair: Pair, options: Options) -> Judgment:
            opinions: list[Opinion] = []
            for order in ("ab", "ba"):
                shown = pair if order == "ab" else pair.swapped()
                first_wins = chance.random() < by_number(bias=1.5)(shown)
                verdict = Verdict(winner="A" if first_wins else "B", probability_a=float(first_wins), source="votes")
                outcome = verdict if order == "ab" else verdict.swapped()
                opinions.append(Opinion(order=order, outcome=outcome, reading=Reading(), reply=""))
            agree = len({opinion.outcome.winner for opinion in opinions}) == 1
            return Judgment(outcome=opinions[0].outcome if agree else NoVerdict(reason="split"), opinions=tuple(opinions))

    members = group(*(i / 4 for i in range(16)))
    ranked = await rank(members, RankOptions(method="all_pairs", orders="both"), Votes())
    splits = [comparison for comparison in ranked.comparisons if comparison.judgment.winner is None]
    duels = [duel for comparison in ranked.comparisons for duel in duels_of(comparison.i, comparison.j, comparison.judgment)]
    assert len(splits) > 0.3 * len(ranked.comparisons)
    assert len(duels) == 2 * len(ranked.comparisons)
    assert fit(16, duels).bias == pytest.approx(1.5, abs=0.5)


async def test_equal_responses_share_a_place_and_the_next_place_leaves_it_out() -> None:
    of = Group.model_validate({"question": "q", "responses": ["c 1", "a 2", "b 1", "d 0", "e 1", "a 2\n"]})
    ranked = await rank(of, RankOptions(method="all_pairs", orders="both"), FixedJudge(by_number()))
    assert [standing.place for standing in ranked.standings] == [3, 1, 3, 6, 3, 1]
    assert ranked.order == (1, 5, 0, 2, 4, 3)


@given(st.lists(st.integers(-2, 2), min_size=2, max_size=7), st.sampled_from(["unit", "raw"]))
@settings(deadline=None, max_examples=30)
def test_places_follow_the_rewards_and_equal_rewards_share_them(strengths: list[int], scale: str) -> None:
    of = Group.model_validate({"question": "q", "responses": [f"{chr(97 + i)} {x}" for i, x in enumerate(strengths)]})

    def answer(match: Match) -> Judgment:
        return judged_both(by_number()(match.pair))

    ranked, _ = drive(of, RankOptions(method="all_pairs", orders="both", scale=scale), answer)
    rewards = ranked.rewards
    for one in ranked.standings:
        assert one.place == 1 + sum(other - rewards[one.index] > 1e-5 for other in rewards)
    assert [rewards[i] for i in ranked.order] == pytest.approx(sorted(rewards, reverse=True), abs=1e-5)
