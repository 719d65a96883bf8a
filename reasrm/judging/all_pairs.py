"""Every pair: n(n-1)/2 comparisons, in one order with the first place alternating, or in both."""

from __future__ import annotations

from itertools import combinations

from reasrm.judging.group import Contest, Rounds


def all_pairs(contest: Contest) -> Rounds:
    """One round of all pairs: the most expensive method, with which the others are compared."""
    yield [contest.fair(i, j) for i, j in combinations(range(contest.n), 2)]
