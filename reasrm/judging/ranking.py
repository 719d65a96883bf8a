"""Ranks a group: plays a method's rounds among the different texts within the budget, then fits rewards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from reasrm.failures import failed_judgment
from reasrm.judging.all_pairs import all_pairs
from reasrm.judging.circle import circle
from reasrm.judging.group import Budget, Contest, Entrants, Group, MethodName, RankOptions, Rounds, key_of
from reasrm.judging.knockout import knockout
from reasrm.judging.pivot import pivot
from reasrm.judging.standings import order_of, standings_of
from reasrm.judging.swiss import opens, swiss
from reasrm.parsing import deliberation_of
from reasrm.types import Comparison, Judgment, Options, Pair, PairJudge, Ranking, Usage

METHODS: dict[MethodName, Callable[[Contest], Rounds]] = {
    "all_pairs": all_pairs,
    "circle": circle,
    "pivot": pivot,
    "swiss": swiss,
    "knockout": knockout,
}


@dataclass(frozen=True, slots=True)
class Match:
    """A comparison to make: contestants `i` and `j` of the group, as the pair and the options to judge it by."""

    i: int
    j: int
    pair: Pair
    options: Options


#: A ranking in progress: yields waves of matches, is sent their judgments, returns the ranking.
RankFlow = Generator[list[Match], list[Judgment], Ranking]


@dataclass(slots=True)
class _Ledger:
    """The comparisons so far and the rest of the budget. `readings` is the number of readings per comparison."""

    budget: Budget
    readings: int
    comparisons: list[Comparison] = field(default_factory=list[Comparison])
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    cached: int = 0
    #: Tokens as if no comparison had come from a cache, so that a ranking does not depend on the cache.
    tokens: int = 0
    most_tokens: int = 0

    def enter(self, wave: list[Match], judgments: list[Judgment]) -> None:
        """Book a wave."""
        for match, judgment in zip(wave, judgments, strict=True):
            self.comparisons.append(Comparison(i=match.i, j=match.j, judgment=judgment))
            tokens = judgment.usage.prompt_tokens + judgment.usage.completion_tokens
            self.tokens += tokens
            self.most_tokens = max(self.most_tokens, tokens)
            self.cached += judgment.cached
            if not judgment.cached:
                self.usage += judgment.usage
        self.seconds += max((judgment.seconds for judgment in judgments if not judgment.cached), default=0.0)

    def room(self, comparisons: int) -> int:
        """How many of that many `comparisons` may start now. A token budget starts one alone first, to learn what one costs."""
        if self.budget.comparisons is not None:
            comparisons = min(comparisons, self.budget.comparisons // self.readings - len(self.comparisons))
        if self.budget.tokens is not None:
            unspent = max(0, self.budget.tokens - self.tokens)
            comparisons = min(comparisons, unspent // self.most_tokens if self.most_tokens else int(unspent > 0))
        return comparisons


def ranking(group: Group, options: RankOptions, *, reuse: bool = False) -> RankFlow:
    """Rank `group` as `options` say; `reuse` is whether the judge was trained for deliberation reuse (`Pack.reuse`).

    With reuse the first comparison goes alone, and all others continue its rubric or solution.
    """
    entrants = Entrants.of(group, options.near_duplicates)
    ledger = _Ledger(options.budget or Budget.model_construct(), readings=2 if options.orders == "both" else 1)
    rounds = METHODS[options.method](_contest(group, options, entrants))
    how = options.one(options.deliberation)
    leads = options.deliberation is None and (reuse if options.reuse is None else options.reuse)
    matches = _next_round(rounds, None)
    while matches:
        played: list[Judgment] = []
        while size := ledger.room(1 if leads else len(matches) - len(played)):
            wave = [_match(group, entrants, i, j, how) for i, j in matches[len(played) : len(played) + size]]
            judgments = yield wave
            ledger.enter(wave, judgments)
            played += judgments
            if leads:
                how, leads = options.one(_deliberation(judgments[0])), False
        if len(played) < len(matches):  # the budget is spent
            break
        matches = _next_round(rounds, played)
    standings = standings_of(group, options, entrants, ledger.comparisons)
    return Ranking(
        standings=standings,
        order=order_of(standings),
        comparisons=tuple(ledger.comparisons),
        method=options.method,
        usage=ledger.usage,
        seconds=ledger.seconds,
        cached=ledger.cached,
    )


def _contest(group: Group, options: RankOptions, entrants: Entrants) -> Contest:
    return Contest(
        n=len(entrants.unique),
        both=options.orders == "both",
        reference=None if group.reference is None else entrants.entrant(len(group.responses)),
        readings=options.budget.comparisons if options.budget else None,
        keys=tuple(key_of(group.contestants[contestant]) for contestant in entrants.unique),
        budgeted=options.budget is not None,
    )


def _match(group: Group, entrants: Entrants, i: int, j: int, how: Options) -> Match:
    """The entrants `i` and `j` as a match of contestants."""
    first, second = entrants.unique[i], entrants.unique[j]
    return Match(first, second, group.pair(first, second), how)


def _deliberation(judgment: Judgment) -> str | None:
    return next((deliberation_of(opinion.reply) for opinion in judgment.opinions), None)


def _next_round(rounds: Rounds, judgments: list[Judgment] | None) -> list[tuple[int, int]]:
    """The method's next round after the last round's `judgments` (None at the start); empty at the end."""
    try:
        return next(rounds) if judgments is None else rounds.send(judgments)
    except StopIteration:
        return []


def surely_meet(options: RankOptions, a: int, b: int, n: int) -> bool:
    """Whether the contestants with the keys `a` and `b` (`key_of`) are compared in any group of at most `n`.

    If so, the comparison may be made before the other responses arrive: the ranking will need it.
    """
    if options.budget or options.near_duplicates or a == b:
        return False
    return options.method == "all_pairs" or (options.method == "swiss" and opens(a, b, n, both=options.orders == "both"))


async def rank(
    group: Group, options: RankOptions, judge: PairJudge, *, reuse: bool = False, deadline: float | None = None
) -> Ranking:
    """Rank `group` by `judge`; the comparisons of a wave run concurrently. A failed comparison has no verdict, and the ranking goes
    on.

    `deadline` is a time of the running loop's clock: comparisons that are unfinished by then have no verdict, and the others make
    the ranking. Raises the caller's mistakes (`InputError`).
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
    """The judgment of a match; at the ranking's deadline it becomes a failure."""
    if deadline is not None and deadline <= asyncio.get_running_loop().time():
        return failed_judgment(TimeoutError())
    try:
        async with asyncio.timeout_at(deadline):
            return await judge.judge(match.pair, match.options)
    except TimeoutError as late:
        return failed_judgment(late)
