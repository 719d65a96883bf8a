"""Rewards that are computed from rewards: hierarchy, gap, normalisation."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasrm.rewards.compose import gap, hierarchy, normalised

probabilities = st.floats(0.001, 0.999)
rewards = st.lists(st.one_of(st.none(), st.floats(-5, 5)), min_size=1, max_size=16)


def test_aspects_count_only_above_the_threshold() -> None:
    composed = hierarchy([0.5, -0.5, None, 0.0], {"short": [0.0, 1.0, 1.0, 1.0]}, {"short": 0.1})
    assert composed == [0.55, -0.5, None, 0.0]


def test_a_bad_aspect_just_above_the_threshold_does_not_fall_below_it() -> None:
    above, below = hierarchy([0.05, -0.01], {"x": [-1.0, 0.0]}, {"x": 0.5})
    assert above > below


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(-1e6, 1e6)), min_size=2, max_size=12),
    st.floats(0, 100),
    st.floats(-2, 2),
)
def test_no_aspect_lifts_a_response_over_the_gate_or_drops_one_below_it(
    group: list[tuple[float, float]], weight: float, threshold: float
) -> None:
    holistic, aspect = zip(*group, strict=True)
    composed = hierarchy(holistic, {"x": aspect}, {"x": weight}, threshold=threshold)
    above = [reward for whole, reward in zip(holistic, composed, strict=True) if whole > threshold]
    below = [reward for whole, reward in zip(holistic, composed, strict=True) if whole <= threshold]
    assert not above or not below or min(above) > max(below)


def test_a_better_aspect_gives_a_better_reward_above_the_gate() -> None:
    worse, better = hierarchy([0.5, 0.5], {"x": [-0.3, 0.4]}, {"x": 1.0})
    assert worse < better


def test_an_aspect_without_a_value_is_an_average_one_and_names_must_fit() -> None:
    assert hierarchy([0.5], {"x": [None]}, {"x": 1.0}) == hierarchy([0.5], {"x": [0.0]}, {"x": 1.0}) == [1.0]
    with pytest.raises(ValueError, match="negative"):
        hierarchy([0.5], {"x": [1.0]}, {"x": -1.0})
    with pytest.raises(ValueError, match="same names"):
        hierarchy([0.5], {"x": [1.0]}, {})
    with pytest.raises(ValueError, match="one value"):
        hierarchy([0.5], {"x": []}, {"x": 1.0})


@given(probabilities)
def test_the_gap_is_antisymmetric(p: float) -> None:
    assert gap(p) == pytest.approx(-gap(1.0 - p), abs=1e-6)


def test_the_gap_of_equal_responses_is_zero_and_that_of_no_verdict_is_none() -> None:
    assert gap(0.5) == 0.0
    assert gap(None) is None
    assert gap(1.0, limit=3.0) == 3.0
    assert gap(0.0, limit=3.0) == -3.0
    with pytest.raises(ValueError, match="probability"):
        gap(1.5)


@given(rewards, st.one_of(st.none(), st.floats(0.1, 3)))
def test_normalising_keeps_none_and_order_and_bounds(values: list[float | None], clip: float | None) -> None:
    scaled = normalised(values, clip=clip)
    assert [reward is None for reward in scaled] == [reward is None for reward in values]
    known = [(before, after) for before, after in zip(values, scaled, strict=True) if before is not None]
    assert all(one[1] <= other[1] + 1e-9 for one in known for other in known if one[0] < other[0])
    if clip is not None:
        assert all(abs(after) <= clip for _, after in known)


def test_normalised_rewards_have_mean_zero_and_deviation_one() -> None:
    known = [reward for reward in normalised([1.0, 2.0, None, 3.0]) if reward is not None]
    assert sum(known) == pytest.approx(0)
    assert math.sqrt(sum(reward**2 for reward in known) / 3) == pytest.approx(1, abs=1e-5)
    assert normalised([2.0, 2.0]) == [0.0, 0.0]
    assert normalised([None]) == [None]
