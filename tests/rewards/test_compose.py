"""Rewards out of rewards: hierarchy, gap, normalisation."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasrm.rewards.compose import gap, hierarchy, normalised

probabilities = st.floats(0.001, 0.999)
rewards = st.lists(st.one_of(st.none(), st.floats(-5, 5)), min_size=1, max_size=16)


def test_aspects_count_only_above_the_threshold() -> None:
    found = hierarchy([0.5, -0.5, None, 0.0], {"short": [1.0, 1.0, 1.0, 1.0]}, {"short": 0.1})
    assert found == [0.6, -0.5, None, 0.0]


def test_an_aspect_cannot_make_up_for_a_bad_whole() -> None:
    bad, good = hierarchy([-0.1, 0.1], {"x": [1.0, 0.0]}, {"x": 10.0})
    assert bad < good


def test_an_aspect_without_a_value_counts_nothing_and_names_must_fit() -> None:
    assert hierarchy([0.5], {"x": [None]}, {"x": 1.0}) == [0.5]
    with pytest.raises(ValueError, match="same names"):
        hierarchy([0.5], {"x": [1.0]}, {})
    with pytest.raises(ValueError, match="one value"):
        hierarchy([0.5], {"x": []}, {"x": 1.0})


@given(probabilities)
def test_the_gap_is_antisymmetric(p: float) -> None:
    assert gap(p) == pytest.approx(-gap(1.0 - p), abs=1e-6)


def test_the_gap_of_equals_is_nought_and_that_of_no_verdict_none() -> None:
    assert gap(0.5) == 0.0
    assert gap(None) is None
    assert gap(1.0, limit=3.0) == 3.0
    assert gap(0.0, limit=3.0) == -3.0
    with pytest.raises(ValueError, match="probability"):
        gap(1.5)


@given(rewards, st.one_of(st.none(), st.floats(0.1, 3)))
def test_normalising_keeps_none_and_order_and_bounds(values: list[float | None], clip: float | None) -> None:
    found = normalised(values, clip=clip)
    assert [each is None for each in found] == [each is None for each in values]
    known = [(before, after) for before, after in zip(values, found, strict=True) if before is not None]
    assert all(a[1] <= b[1] + 1e-9 for a in known for b in known if a[0] < b[0])
    if clip is not None:
        assert all(abs(after) <= clip for _, after in known)


def test_normalised_rewards_have_mean_nought_and_deviation_one() -> None:
    found = normalised([1.0, 2.0, None, 3.0])
    known = [each for each in found if each is not None]
    assert sum(known) == pytest.approx(0)
    assert math.sqrt(sum(each**2 for each in known) / 3) == pytest.approx(1, abs=1e-5)
    assert normalised([2.0, 2.0]) == [0.0, 0.0]
    assert normalised([None]) == [None]
