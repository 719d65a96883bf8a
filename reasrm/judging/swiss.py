"""Adaptive rounds between near-equals: each round asks for the comparisons that tell the fit most.

The first round is a random graph, drawn from a hash of each pair's texts, so that it can begin before the whole group is there; in
a small group, and where a budget may cut it short, it is a circle. Then each round holds about n readings, each response in two of
them, chosen greedily by expected information: the variance of the difference of two strengths times the Fisher information p(1 - p)
of one more comparison (Glickman and Jensen, "Adaptive paired comparison designs", Journal of Statistical Planning and Inference
2005, in its large-sample form). Few and wide rounds, because an RL step waits for each of them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from itertools import combinations

from reasrm.judging.bradley_terry import Duel, Strengths, duels_of, fit
from reasrm.judging.group import Contest, Rounds, circle_of

Match = tuple[int, int]
#: The first round's share of the readings: half would leave too few for near-equals (bench/ranking.py).
OPENING = 0.4
#: Groups up to this size begin with a circle: with few responses, balanced first places matter more.
FEW = 8


def readings_needed(n: int) -> int:
    """The default number of readings: about 1.2 n log2 n; at most half of all pairs in both orders, at least a circle."""
    return max(n, min(n * (n - 1) // 2, math.ceil(1.2 * n * math.log2(n)))) if n > 1 else 0


def opens(a: int, b: int, n: int, *, both: bool) -> bool:
    """Whether the contestants with the keys `a` and `b` meet in the first round of `n`.

    The probability falls with `n`: two contestants that meet in a group also meet in every part of it, down to `FEW`.
    """
    if n <= FEW:
        return False
    drawn = int.from_bytes(hashlib.blake2b(b"%d %d" % (min(a, b), max(a, b)), digest_size=8).digest()) / 2**64
    return drawn < OPENING * readings_needed(n) / (2 if both else 1) / (n * (n - 1) / 2)


def swiss(contest: Contest) -> Rounds:
    """A first round, then the most informative comparisons until `contest.readings` (or the default number) are spent."""
    n = contest.n
    cost = 2 if contest.both else 1
    left = contest.readings or readings_needed(n)
    duels: list[Duel] = []
    shown: set[Match] = set()
    matches = _first_round(contest)
    while matches:
        judgments = yield matches
        left -= cost * len(matches)
        for (i, j), judgment in zip(matches, judgments, strict=True):
            duels += duels_of(i, j, judgment)
            shown |= {(i, j), (j, i)} if contest.both else {(i, j)}
        matches = _next_round(n, fit(n, duels), shown, min(left, n) // cost) if left >= cost else []


def _first_round(contest: Contest) -> list[Match]:
    keys, both = contest.keys, contest.both
    if keys and not contest.budgeted:
        pairs = combinations(range(contest.n), 2)
        drawn = [contest.fair(i, j) for i, j in pairs if opens(keys[i], keys[j], contest.n, both=both)]
        if drawn:
            return drawn
    return circle_of(contest.n, both)


def _next_round(n: int, strengths: Strengths, shown: set[Match], size: int) -> list[Match]:
    """At most `size` new matches, the most informative first, each contestant in at most two."""
    lead = [sum(i == first for first, _ in shown) - sum(i == second for _, second in shown) for i in range(n)]
    played = [0] * n
    matches: list[Match] = []
    for i, j in _by_information(n, strengths):
        if len(matches) == size:
            break
        # The one that stood first less often stands first now, unless that order was read already.
        ways = ((i, j), (j, i)) if lead[i] <= lead[j] else ((j, i), (i, j))
        match = next((way for way in ways if way not in shown), None)
        if match is None or played[i] == 2 or played[j] == 2:
            continue
        matches.append(match)
        played[i], played[j] = played[i] + 1, played[j] + 1
        lead[match[0]], lead[match[1]] = lead[match[0]] + 1, lead[match[1]] - 1
    return matches


def _by_information(n: int, strengths: Strengths) -> Iterator[Match]:
    import numpy as np

    variance = np.diag(strengths.covariance)
    apart = strengths.theta[:, None] - strengths.theta[None, :]
    uncertain = variance[:, None] + variance[None, :] - 2.0 * strengths.covariance
    information = uncertain / (4.0 * np.cosh(apart / 2.0) ** 2)  # p(1 - p) = 1 / (4 cosh^2(d / 2))
    upper_i, upper_j = np.triu_indices(n, 1)
    for k in np.argsort(-information[upper_i, upper_j], kind="stable"):
        yield int(upper_i[k]), int(upper_j[k])
