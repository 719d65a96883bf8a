"""A knockout tournament: the loser of a match is out. About n - 1 comparisons find the best of n; the other places are rough."""

from __future__ import annotations

import math

from reasrm.judging.group import Contest, Rounds


def knockout(contest: Contest) -> Rounds:
    """Rounds among the unbeaten; the loser of a match is out. Without a verdict both stay, for at most one extra round."""
    unbeaten = list(range(contest.n))
    met: set[frozenset[int]] = set()
    firsts = [0] * contest.n
    for _ in range(math.ceil(math.log2(max(2, contest.n))) + 1):
        matches = _pair_up(unbeaten, met, firsts)
        if not matches:
            return
        judgments = yield matches
        for (i, j), judgment in zip(matches, judgments, strict=True):
            met.add(frozenset((i, j)))
            firsts[i] += 1
            if judgment.winner is not None:
                unbeaten.remove(j if judgment.winner == "A" else i)


def _pair_up(unbeaten: list[int], met: set[frozenset[int]], firsts: list[int]) -> list[tuple[int, int]]:
    """Matches of neighbours that have not met, at most one per contestant. The one that stood first less often stands first."""
    waiting = list(unbeaten)
    matches: list[tuple[int, int]] = []
    while waiting:
        i = waiting.pop(0)
        j = next((other for other in waiting if frozenset((i, other)) not in met), None)
        if j is not None:
            waiting.remove(j)
            matches.append((i, j) if firsts[i] <= firsts[j] else (j, i))
    return matches
