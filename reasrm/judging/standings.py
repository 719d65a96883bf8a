"""Comparisons into standings: a Bradley-Terry fit, rewards from its zero, and places in which ties are ties."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reasrm.judging.bradley_terry import duels_of, fit
from reasrm.judging.group import Entrants, Group, RankOptions
from reasrm.types import Comparison, Standing

#: Strengths (logits) this close tie: P(better) is then within 0.25 % of one half, which no reading can tell from even.
TIE = 0.01


def standings_of(group: Group, options: RankOptions, entrants: Entrants, comparisons: Sequence[Comparison]) -> tuple[Standing, ...]:
    """One standing per response, in the responses' order. Equal texts share a reward; a text without a verdict has none."""
    strengths = _strengths(group, entrants, comparisons)
    indices = range(len(group.responses))
    places = _places({index: strengths[at][0] for index in indices if (at := entrants.entrant(index)) in strengths})
    standings: list[Standing] = []
    for index in indices:
        like, at = entrants.like[index], entrants.entrant(index)
        reward, stderr = _scaled(*strengths[at], options.scale) if at in strengths else (None, None)
        standings.append(
            Standing(
                index=index,
                reward=reward,
                stderr=stderr,
                comparisons=sum(like in (comparison.i, comparison.j) for comparison in comparisons),
                duplicate_of=like if like != index else None,
                place=places.get(index),
            )
        )
    return tuple(standings)


def order_of(standings: Sequence[Standing]) -> tuple[int, ...]:
    """The indices of the responses with a place, from best to worst; those of equal rewards stand in their own order."""
    placed = [standing for standing in standings if standing.place is not None and standing.reward is not None]
    # rounded: a fit leaves differences of 1e-9 between responses that it cannot tell apart
    return tuple(standing.index for standing in sorted(placed, key=lambda standing: -round(standing.reward or 0.0, 6)))


def _strengths(group: Group, entrants: Entrants, comparisons: Sequence[Comparison]) -> dict[int, tuple[float, float]]:
    """(strength, its standard error) in logits from the zero, of each entrant that a reading names."""
    duels = [
        duel
        for comparison in comparisons
        for duel in duels_of(entrants.entrant(comparison.i), entrants.entrant(comparison.j), comparison.judgment)
    ]
    if not duels:
        return {}
    zero = None if group.reference is None else entrants.entrant(len(group.responses))
    strengths, errors = fit(len(entrants.unique), duels).against(zero)
    judged = {entrant for duel in duels for entrant in (duel.first, duel.second)}
    return {entrant: (strengths[entrant], errors[entrant]) for entrant in judged}


def _scaled(strength: float, stderr: float, scale: str) -> tuple[float, float]:
    """A strength in logits as a reward with its standard error (delta method: d tanh(x / 2) / dx = (1 - tanh^2) / 2)."""
    if scale == "raw":
        return strength, stderr
    reward = math.tanh(strength / 2.0)
    return reward, stderr * (1.0 - reward * reward) / 2.0


def _places(strengths: dict[int, float]) -> dict[int, int]:
    """The place of each index, from 1. Responses within `TIE` of the best one in a place share it."""
    places: dict[int, int] = {}
    best, place = math.inf, 1
    for at, index in enumerate(sorted(strengths, key=lambda index: -strengths[index]), start=1):
        if best - strengths[index] > TIE:
            best, place = strengths[index], at
        places[index] = place
    return places
