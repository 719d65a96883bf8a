"""The numbers agree with their definitions and, where a library has them, with the library."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reasrm.metrics import (
    Calibration,
    Correlation,
    Mean,
    Share,
    average,
    cyclic_share,
    majority_agreement,
    weighted,
    wilson,
)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=50))
def test_a_mean_has_the_standard_error_that_scipy_gives(values: list[float]) -> None:
    mean = Mean.of(values)
    assert mean.n == len(values)
    assert mean.stderr == pytest.approx(stats.sem(values), abs=1e-9)


def test_the_mean_of_nothing_is_not_a_number() -> None:
    assert math.isnan(Mean.of([]).value)
    assert math.isnan(weighted([], []).value)


@given(st.integers(0, 40), st.integers(1, 40))
def test_wilsons_interval_is_that_of_scipy(hits: int, more: int) -> None:
    n = hits + more
    expected = stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_rewards_are_weighted_and_their_errors_propagate() -> None:
    mean = weighted([Mean(1.0, 0.1, 10), Mean(0.0, 0.2, 20)], [3, 1])
    assert mean == pytest.approx((0.75, math.sqrt(0.3**2 + 0.2**2) / 4, 30))
    assert average([Mean(1.0, 0.1, 10), Mean(0.0, 0.1, 20)]).value == 0.5


def test_a_share_of_nothing_is_none_and_a_missing_verdict_is_not_counted() -> None:
    share = Share()
    share.add(None)
    assert share.value is None
    share.add(True)
    share.add(False)
    assert share.value == 0.5


def test_a_calibrated_judge_has_almost_no_calibration_error_and_an_overconfident_one_has_its_excess() -> None:
    rng = random.Random(1)
    honest, boaster = Calibration(), Calibration()
    for _ in range(20_000):
        p = rng.uniform(0.5, 1.0)
        right = rng.random() < p
        honest.add(p, right)
        boaster.add(1.0, rng.random() < 0.6)
    assert (honest.error or 0) < 0.02
    assert boaster.error == pytest.approx(0.4, abs=0.02)
    assert boaster.brier == pytest.approx(0.4, abs=0.02)
    assert sum(bucket.n for bucket in honest.diagram) == honest.n == 20_000


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=3, max_size=40))
def test_correlation_is_pearsons(points: list[tuple[int, int]]) -> None:
    correlation = Correlation()
    for x, y in points:
        correlation.add(x, y)
    xs, ys = zip(*points, strict=True)
    if len(set(xs)) > 1 and len(set(ys)) > 1:
        assert correlation.value == pytest.approx(stats.pearsonr(xs, ys).statistic, abs=1e-9)
    else:
        assert correlation.value is None


def test_votes_agree_by_the_share_of_their_majority() -> None:
    assert majority_agreement(["A", "A", "B"]) == pytest.approx(2 / 3)
    assert majority_agreement(["A"]) is None


def test_a_circle_of_three_is_the_only_judged_triple_and_cyclic() -> None:
    assert cyclic_share([("a", "b"), ("b", "c"), ("c", "a")]) == 1.0
    assert cyclic_share([("a", "b"), ("b", "c"), ("a", "c")]) == 0.0
    assert cyclic_share([("a", "b"), ("b", "c")]) is None
