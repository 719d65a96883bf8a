"""A circle: each response stands once first and once second (NeMo Gym's genrm_compare does so). It makes n comparisons."""

from __future__ import annotations

from reasrm.judging.group import Contest, Rounds, circle_of


def circle(contest: Contest) -> Rounds:
    """One round around the circle."""
    yield circle_of(contest.n, contest.both)
