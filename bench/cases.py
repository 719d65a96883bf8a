"""Groups to rank and judges of them: simulated ones of known accuracy, and the embedded judge's own readings on real SGLang."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "training")]

import reuse  # noqa: E402

from reasrm.engine import HttpEngine  # noqa: E402
from reasrm.judging import EngineJudge  # noqa: E402
from reasrm.judging.group import Group  # noqa: E402
from reasrm.judging.ranking import Match  # noqa: E402
from reasrm.prompts import load_pack  # noqa: E402
from reasrm.types import Judgment, NoVerdict, Opinion, Options, Order, Reading, Verdict  # noqa: E402

EMBEDDED = "embedded judge"
AT_ONCE = 32


@dataclass(frozen=True)
class World:
    """A kind of judge. `noise` is the sd of the logit's noise; None: one vote per reading, which is 0 or 1."""

    name: str
    noise: float | None
    spread: float = 3.0
    bias: float = 0.0


WORLDS = (
    World("probabilities", noise=0.8),
    World("probabilities, position bias 1", noise=0.8, bias=1.0),
    World("votes", noise=None),
    World("votes, position bias 1", noise=None, bias=1.0),
    World("votes, 65 % accurate", noise=None, spread=0.52),
    World("votes, 95 % accurate", noise=None, spread=7.5),
)


class Judge(Protocol):
    """A judge of one group's pairs. It counts its readings, the decidable and the right ones among them, and their tokens."""

    readings: int
    right: int
    decidable: int
    tokens: int

    def judge(self, match: Match) -> Judgment: ...


@dataclass(frozen=True)
class Case:
    """A group, the true strengths of its responses, and a fresh judge for each method."""

    group: Group
    truth: np.ndarray
    judge: Callable[[], Judge]


class SimulatedJudge:
    """Reads the contestants' true strengths through noise, in each order independently."""

    def __init__(self, truth: np.ndarray, world: World, rng: np.random.Generator) -> None:
        self.truth, self.world, self.rng = truth, world, rng
        self.readings = self.right = self.decidable = self.tokens = 0

    def judge(self, match: Match) -> Judgment:
        orders: tuple[Order, ...] = ("ab", "ba") if match.options.orders == "both" else ("ab",)
        return combined([self._opinion(match.i, match.j, order) for order in orders])

    def _opinion(self, i: int, j: int, order: Order) -> Opinion:
        first, second = (i, j) if order == "ab" else (j, i)
        logit = self.truth[first] - self.truth[second] + self.world.bias
        logit += 0.0 if self.world.noise is None else self.world.noise * self.rng.normal()
        probability = 1.0 / (1.0 + math.exp(-logit))
        if self.world.noise is None:
            probability = float(self.rng.random() < probability)
        self.readings += 1
        self.decidable += 1
        self.right += (probability > 0.5) == (self.truth[first] > self.truth[second])
        verdict = verdict_of(probability, "votes" if self.world.noise is None else "logprobs")
        return Opinion(order=order, outcome=verdict if order == "ab" else verdict.swapped(), reading=Reading(), reply="")


def verdict_of(probability: float, source: Literal["logprobs", "votes"]) -> Verdict:
    return Verdict(winner="A" if probability > 0.5 else "B", probability_a=probability, source=source)


def combined(opinions: list[Opinion]) -> Judgment:
    """The outcome of both orders. If they are even there is no winner, but the opinions still hold their verdicts."""
    verdicts = [opinion.outcome for opinion in opinions if isinstance(opinion.outcome, Verdict)]
    if not verdicts:
        return Judgment(outcome=opinions[0].outcome, opinions=tuple(opinions))
    probability = float(np.mean([verdict.probability_a for verdict in verdicts]))
    outcome = NoVerdict(reason="split") if probability == 0.5 else verdict_of(probability, verdicts[0].source)
    return Judgment(outcome=outcome, opinions=tuple(opinions))


def simulated(world: World, n: int, groups: int, seed: int) -> Iterator[Case]:
    """Groups whose true strengths are drawn from N(0, spread)."""
    rng = np.random.default_rng([seed, n, WORLDS.index(world)])
    for number in range(groups):
        truth = rng.normal(0.0, world.spread, n)
        group = Group.model_validate({"question": "q", "responses": [f"response {i} of {seed}.{number}" for i in range(n)]})
        yield Case(group, truth, lambda truth=truth: SimulatedJudge(truth, world, rng))


#: The judgments of a group's ordered pairs, each read once as (shown first, shown second).
Readings = dict[tuple[int, int], Judgment]


class RecordedJudge:
    """Repeats a judge's recorded reading of each ordered pair."""

    def __init__(self, truth: np.ndarray, readings: Readings) -> None:
        self.truth, self._readings = truth, readings
        self.readings = self.right = self.decidable = self.tokens = 0

    def judge(self, match: Match) -> Judgment:
        opinions = [self._opinion(match.i, match.j)]
        if match.options.orders == "both":
            other = self._opinion(match.j, match.i)
            outcome = other.outcome.swapped() if isinstance(other.outcome, Verdict) else other.outcome
            opinions.append(other.model_copy(update={"order": "ba", "outcome": outcome}))
        return combined(opinions)

    def _opinion(self, first: int, second: int) -> Opinion:
        reading = self._readings[first, second]
        self.readings += 1
        self.tokens += reading.usage.prompt_tokens + reading.usage.completion_tokens
        if reading.winner is not None and self.truth[first] != self.truth[second]:
            self.decidable += 1
            self.right += (reading.winner == "A") == (self.truth[first] > self.truth[second])
        return reading.opinions[0]


def recorded(url: str, n: int, at_least: int) -> Iterator[Case]:
    """Groups of a right response (worth 1) and wrong ones (worth 0), with the judge's readings of all pairs in both orders.

    There are enough groups for `at_least` readings. Kendall's tau is tau-b, which such ties in the truth keep well below 1: read it
    as a share of that of all pairs.
    """
    truth = np.array([1.0] + [0.0] * (n - 1))
    for group in reuse.groups(-(-at_least // (n * (n - 1))), n):
        readings = asyncio.run(_read(url, group))
        yield Case(group, truth, lambda readings=readings: RecordedJudge(truth, readings))


async def _read(url: str, group: Group) -> Readings:
    options, free = Options(orders="ab", reuse=False, max_tokens=reuse.MAX_TOKENS), asyncio.Semaphore(AT_ONCE)
    async with HttpEngine(url) as engine:
        judge = EngineJudge(engine, load_pack("world"), b"")

        async def one(i: int, j: int) -> Judgment:
            async with free:
                return await judge.judge(group.pair(i, j), options)

        pairs = list(permutations(range(len(group.responses)), 2))
        return dict(zip(pairs, await asyncio.gather(*(one(i, j) for i, j in pairs)), strict=True))
