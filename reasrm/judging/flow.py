"""Driving a protocol: ask the engine for what it yields, send it what came, until it returns."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from reasrm.errors import EngineError, EngineTimeout
from reasrm.judging.opinions import Flow
from reasrm.judging.pairwise import pairwise
from reasrm.judging.voting import voting
from reasrm.prompts import Pack
from reasrm.types import Answer, Ask, Completer, Failure, Judgment, NoVerdict, Options, Pair


def judge_flow(pair: Pair, options: Options, pack: Pack, key: bytes) -> Flow:
    """The protocol that `options` ask for."""
    return (voting if options.votes > 1 else pairwise)(pair, options, pack, key)


async def run(flow: Flow, completer: Completer) -> Judgment:
    """Drive `flow` over `completer`, asking each wave at once. A failed ask becomes a `Failure` and the rest goes on.

    Cancelling this cancels what is being asked.
    """
    try:
        asks = next(flow)
        while True:
            if len(asks) == 1:
                answers = [await _answer(asks[0], completer)]
            else:
                try:
                    async with asyncio.TaskGroup() as group:
                        tasks = [group.create_task(_answer(ask, completer)) for ask in asks]
                except ExceptionGroup as several:  # bad input is bad in every order: one error says it
                    raise several.exceptions[0] from None
                answers = [task.result() for task in tasks]
            asks = flow.send(answers)
    except StopIteration as stop:
        return stop.value


async def _answer(ask: Ask, completer: Completer) -> Answer:
    try:
        return await completer.complete(ask)
    except EngineTimeout as error:
        return Failure(no_verdict=NoVerdict(reason="deadline", detail=str(error)))
    except EngineError as error:
        return Failure(no_verdict=NoVerdict(reason="engine_failed", detail=str(error)))


@dataclass(frozen=True, slots=True)
class EngineJudge:
    """A judge made of an engine and a prompt pack; `key` is the secret behind the pack's fences."""

    completer: Completer
    pack: Pack
    key: bytes

    async def judge(self, pair: Pair, options: Options) -> Judgment:
        """Judge `pair`; an engine's failure is a `NoVerdict`, bad input raises `InputError`."""
        return await run(judge_flow(pair, options, self.pack, self.key), self.completer)
