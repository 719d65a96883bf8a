"""Drives a protocol: sends its requests to the engine and the answers back to it, until it returns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reasrm.errors import ReasrmError
from reasrm.failures import no_verdict_of, whole
from reasrm.judging.glance import glance
from reasrm.judging.opinions import Flow
from reasrm.judging.pairwise import pairwise
from reasrm.judging.voting import voting
from reasrm.prompts import Pack
from reasrm.types import Answer, Ask, Completer, Failure, Judgment, Options, Pair


def judge_flow(pair: Pair, options: Options, pack: Pack, key: bytes) -> Flow:
    """The protocol that `options` ask for, and the pack where they leave it open."""
    if options.votes > 1:
        return voting(pair, options, pack, key)
    reasons = pack.reasoning if options.reasoning is None else options.reasoning == "on"
    return (pairwise if reasons else glance)(pair, options, pack, key)


async def run(flow: Flow, completer: Completer) -> Judgment:
    """Drive `flow` over `completer`; the requests of each wave run concurrently. The failure policy (`reasrm.failures`) applies
    here.

    If one reply fails, the whole judgment has failed, so no further request is sent; an optional reply that the engine refuses is
    no failure. Raises the caller's mistakes.
    Cancelling this cancels the open requests.
    """
    failure: Failure | None = None
    try:
        asks = next(flow)
        while True:
            if failure is not None:
                answers: list[Answer] = [failure] * len(asks)
            elif len(asks) == 1:
                answers = [await _answer(asks[0], completer)]
            else:
                try:
                    async with asyncio.TaskGroup() as group:
                        tasks = [group.create_task(_answer(ask, completer)) for ask in asks]
                except ExceptionGroup as several:  # a mistake fails every order in the same way: one error is enough
                    raise several.exceptions[0] from None
                answers = [task.result() for task in tasks]
            failure = next(_failures(asks, answers), None)
            asks = flow.send(answers)
    except StopIteration as stop:
        return whole(stop.value)


def _failures(asks: Sequence[Ask], answers: Sequence[Answer]) -> Iterator[Failure]:
    """The answers that fail the whole judgment."""
    for ask, answer in zip(asks, answers, strict=True):
        if isinstance(answer, Failure) and (not ask.optional or answer.no_verdict.transient):
            yield answer


async def _answer(ask: Ask, completer: Completer) -> Answer:
    try:
        return await completer.complete(ask)
    except (ReasrmError, TimeoutError) as error:
        return Failure(no_verdict=no_verdict_of(error))


@dataclass(frozen=True, slots=True)
class EngineJudge:
    """A judge made of an engine and a prompt pack; `key` is the secret behind the pack's fences."""

    completer: Completer
    pack: Pack
    key: bytes

    async def judge(self, pair: Pair, options: Options) -> Judgment:
        """Judge `pair`; an engine's failure is a `NoVerdict`, the caller's mistake raises `InputError`."""
        return await run(judge_flow(pair, options, self.pack, self.key), self.completer)
