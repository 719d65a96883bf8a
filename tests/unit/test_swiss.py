"""The first round of a large group is drawn by the texts, so that it can begin before all responses arrive."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasrm.judging.group import Budget, Contest, Group, RankOptions, key_of
from reasrm.judging.ranking import rank, surely_meet
from reasrm.judging.swiss import FEW, OPENING, opens, readings_needed
from reasrm.testing import FixedJudge
from reasrm.types import Pair

SIZES = (9, 12, 16, 30)
KEYS = st.integers(0, 2**64 - 1)


def group(n: int) -> Group:
    return Group.model_validate({"question": "How much?", "responses": [f"answer {1.7 * i % 11:.2f}" for i in range(n)]})


def probability(pair: Pair) -> float:
    a, b = (float(text[-1].content.split()[-1]) for text in (pair.a, pair.b))
    return 1.0 / (1.0 + math.exp(b - a - 1e-9))


@given(KEYS, KEYS, st.integers(3, 64), st.booleans())
def test_a_pair_that_opens_in_a_group_opens_in_every_part_of_it(a: int, b: int, n: int, both: bool) -> None:
    assert opens(a, b, n, both=both) == opens(b, a, n, both=both)
    if opens(a, b, n, both=both):
        assert all(opens(a, b, part, both=both) for part in range(FEW + 1, n))


def test_the_first_round_takes_its_share_of_the_readings() -> None:
    drawn = sum(opens(a, b, 16, both=False) for a, b in combinations(range(200), 2)) / math.comb(200, 2)
    assert drawn * math.comb(16, 2) == pytest.approx(OPENING * readings_needed(16), rel=0.1)


@pytest.mark.parametrize("orders", ["ab", "both"])
@pytest.mark.parametrize("method", ["all_pairs", "swiss"])
async def test_every_promised_comparison_is_made_in_groups_of_every_size(method: str, orders: str) -> None:
    options = RankOptions(method=method, orders=orders)
    cost, sure = (2 if orders == "both" else 1), 0
    for of in map(group, SIZES):
        keys = [key_of(response) for response in of.responses]
        ranking = await rank(of, options, FixedJudge(probability))
        contest = Contest(len(keys), keys=tuple(keys))
        promised = [(i, j) for i, j in combinations(range(len(keys)), 2) if surely_meet(options, keys[i], keys[j], len(keys) + 4)]
        assert {contest.fair(i, j) for i, j in promised} <= {(comparison.i, comparison.j) for comparison in ranking.comparisons}
        assert method == "all_pairs" or len(ranking.comparisons) * cost <= readings_needed(len(keys))
        sure += len(promised)
    assert sure > 0.2 * sum(map(readings_needed, SIZES)) / cost


async def test_under_a_budget_no_comparison_is_promised_and_a_circle_comes_first() -> None:
    options = RankOptions(budget=Budget(comparisons=16))
    assert not any(surely_meet(options, a, b, 16) for a, b in combinations(range(16), 2))
    ranking = await rank(group(16), options, FixedJudge(probability))
    assert None not in ranking.rewards
    assert [standing.comparisons for standing in ranking.standings] == [2] * 16
