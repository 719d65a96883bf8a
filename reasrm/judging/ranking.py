"""A group into a ranking: duplicates folded, a method's rounds played within the budget, Bradley-Terry rewards at the end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from reasrm.failures import failed_judgment
from reasrm.judging.all_pairs import all_pairs
from reasrm.judging.bradley_terry import duels_of, fit
from reasrm.judging.circle import circle
from reasrm.judging.group import Budget, Contest, Group, MethodName, RankOptions, Rounds, duplicates, key_of
from reasrm.judging.knockout import knockout
from reasrm.judging.pivot import pivot
from reasrm.judging.swiss import opens, swiss
from reasrm.parsing import deliberation_of
from reasrm.types import Comparison, Judgment, Options, Pair, PairJudge, Ranking, Standing, Usage

METHODS: dict[MethodName, Callable[[Contest], Rounds]] = {
    "all_pairs": all_pairs,
    "circle": circle,
    "pivot": pivot,
    "swiss": swiss,
    "knockout": knockout,
}


@dataclass(frozen=True, slots=True)
class Match:
    """A comparison that is wanted: contestants `i` and `j` of the group, as the pair and the options to judge it by."""

    i: int
    j: int
    pair: Pair
    options: Options


#: A ranking in progress: yields waves of matches, is sent their judgments, returns the ranking.
RankFlow = Generator[list[Match], list[Judgment], Ranking]


@dataclass(slots=True)
class _Ledger:
    """What has been compared, and how many more comparisons the budget has room for."""

    budget: Budget
    cost: int
    comparisons: list[Comparison] = field(default_factory=list[Comparison])
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    dearest: int = 0
    deliberation: str | None = None

    def enter(self, wave: list[Match], judgments: list[Judgment], *, keep_deliberation: bool) -> None:
        """Book a wave; `keep_deliberation`: the comparisons after it continue its first reply's."""
        if keep_deliberation:
            self.deliberation = next((deliberation_of(opinion.reply) for opinion in judgments[0].opinions), None)
        for match, judgment in zip(wave, judgments, strict=True):
            self.comparisons.append(Comparison(i=match.i, j=match.j, judgment=judgment))
            self.usage += judgment.usage
            self.dearest = max(self.dearest, judgment.usage.prompt_tokens + judgment.usage.completion_tokens)
        self.seconds += max(judgment.seconds for judgment in judgments)

    def room(self) -> float:
        """How many comparisons may start now; one at first where only tokens limit them, since nobody knows yet what it costs."""
        rooms = [math.inf]
        if self.budget.comparisons is not None:
            rooms.append(self.budget.comparisons // self.cost - len(self.comparisons))
        if self.budget.tokens is not None:
            spent = self.usage.prompt_tokens + self.usage.completion_tokens
            rooms.append(max(0, self.budget.tokens - spent) // self.dearest if self.dearest else 1 - (spent > 0))
        return min(rooms)


def ranking(group: Group, options: RankOptions, *, reuse: bool = False) -> RankFlow:
    """Rank `group` as `options` say; `reuse` is whether the judge was trained for deliberation reuse (`Pack.reuse`).

    With reuse the first comparison goes alone, and all others continue its rubric or solution.
    """
    first_like = duplicates(group.contestants, options.near_duplicates)
    unique = sorted(set(first_like))
    both = options.orders == "both"
    budget = options.budget or Budget.model_construct()
    reference = None if group.reference is None else unique.index(first_like[-1])
    ledger = _Ledger(budget=budget, cost=2 if both else 1, deliberation=options.deliberation)
    alone = options.deliberation is None and (reuse if options.reuse is None else options.reuse)
    keys = tuple(key_of(group.contestants[i]) for i in unique)
    contest = Contest(len(unique), both, reference, budget.comparisons, keys, budgeted=options.budget is not None)
    rounds = METHODS[options.method](contest)
    judged: list[Judgment] | None = None
    while wanted := _next_round(rounds, judged):
        judged = []
        while len(judged) < len(wanted):
            size = int(min(ledger.room(), 1 if alone else len(wanted) - len(judged)))
            if size == 0:
                return _standings(group, options, first_like, ledger)
            ahead = [(unique[i], unique[j]) for i, j in wanted[len(judged) : len(judged) + size]]
            wave = [Match(i, j, group.pair(i, j), options.one(ledger.deliberation)) for i, j in ahead]
            got = yield wave
            ledger.enter(wave, got, keep_deliberation=alone)
            judged += got
            alone = False
    return _standings(group, options, first_like, ledger)


def surely_meet(options: RankOptions, a: int, b: int, n: int) -> bool:
    """Whether the contestants with the keys `a` and `b` (`key_of`) are compared whoever else is among at most `n`.

    Then the comparison may be made before the others are there: the ranking will ask for the same.
    """
    if options.budget or options.near_duplicates or a == b:
        return False
    return options.method == "all_pairs" or (options.method == "swiss" and opens(a, b, n, both=options.orders == "both"))


def _next_round(rounds: Rounds, judged: list[Judgment] | None) -> list[tuple[int, int]]:
    """What the method wants next, nothing when it is done; `judged` is None at the start."""
    try:
        return rounds.send(judged) if judged is not None else next(rounds)
    except StopIteration:
        return []


def _standings(group: Group, options: RankOptions, first_like: list[int], ledger: _Ledger) -> Ranking:
    """The rewards of all responses; a duplicate shares that of the first like it, and who has no verdict at all has none."""
    unique = sorted(set(first_like))
    place = {index: at for at, index in enumerate(unique)}
    duels = [duel for each in ledger.comparisons for duel in duels_of(place[each.i], place[each.j], each.judgment)]
    judged = {at for duel in duels for at in (duel.first, duel.second)}
    zero = None if group.reference is None else place[first_like[-1]]
    strengths, errors = fit(len(unique), duels).against(zero) if duels else ([], [])
    standings: list[Standing] = []
    for index in range(len(group.responses)):
        like = first_like[index]
        at = place[like]
        reward, stderr = _scaled(strengths[at], errors[at], options.scale) if at in judged else (None, None)
        met = sum(like in (each.i, each.j) for each in ledger.comparisons)
        copy_of = like if like != index else None
        standings.append(Standing(index=index, reward=reward, stderr=stderr, comparisons=met, duplicate_of=copy_of))
    order = sorted((each for each in standings if each.reward is not None), key=lambda each: -(each.reward or 0.0))
    return Ranking(
        standings=tuple(standings),
        order=tuple(each.index for each in order),
        comparisons=tuple(ledger.comparisons),
        method=options.method,
        usage=ledger.usage,
        seconds=ledger.seconds,
    )


def _scaled(strength: float, stderr: float, scale: str) -> tuple[float, float]:
    """A strength in logits as a reward with its standard error (delta method: d tanh(x / 2) / dx = (1 - tanh^2) / 2)."""
    if scale == "raw":
        return strength, stderr
    reward = math.tanh(strength / 2.0)
    return reward, stderr * (1.0 - reward * reward) / 2.0


async def rank(
    group: Group, options: RankOptions, judge: PairJudge, *, reuse: bool = False, deadline: float | None = None
) -> Ranking:
    """Rank `group` by `judge`, each wave's comparisons at once. What fails has no verdict, and the rest goes on.

    `deadline` is a time of the running loop's clock: what is not judged by then has no verdict, and what was is the ranking.
    Raises the caller's mistakes (`InputError`).
    """
    flow = ranking(group, options, reuse=reuse)
    try:
        wave = next(flow)
        while True:
            try:
                async with asyncio.TaskGroup() as tasks:
                    judging = [tasks.create_task(_judged(match, judge, deadline)) for match in wave]
            except BaseExceptionGroup as failed:
                raise failed.exceptions[0] from None
            wave = flow.send([task.result() for task in judging])
    except StopIteration as stop:
        return stop.value


async def _judged(match: Match, judge: PairJudge, deadline: float | None) -> Judgment:
    """The judgment of a match, which fails where there is none by the ranking's own deadline."""
    if deadline is not None and deadline <= asyncio.get_running_loop().time():
        return failed_judgment(TimeoutError())
    try:
        async with asyncio.timeout_at(deadline):
            return await judge.judge(match.pair, match.options)
    except TimeoutError as late:
        return failed_judgment(late)
