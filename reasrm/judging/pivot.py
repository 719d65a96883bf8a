"""Every response against one pivot: the reference answer, or the median response of a first cheap round."""

from __future__ import annotations

from reasrm.judging.bradley_terry import Duel, duels_of, fit
from reasrm.judging.group import Contest, Rounds, circle_of


def pivot(contest: Contest) -> Rounds:
    """n - 1 comparisons against the reference; without one, a circle of n, then at most n - 3 against its median response."""
    if contest.reference is not None:
        yield [contest.fair(i, contest.reference) for i in range(contest.n) if i != contest.reference]
        return
    first_round = circle_of(contest.n, contest.both)
    judgments = yield first_round
    duels: list[Duel] = []
    for (i, j), judgment in zip(first_round, judgments, strict=True):
        duels += duels_of(i, j, judgment)
    theta = fit(contest.n, duels).theta
    middle = sorted(range(contest.n), key=lambda i: theta[i])[contest.n // 2]
    met = {frozenset(match) for match in first_round}
    others = (i for i in range(contest.n) if i != middle and frozenset((i, middle)) not in met)
    yield [contest.fair(i, middle) for i in others]
