"""A judgment made now: the protocol over the engine, and which weights wrote it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from reasrm.judging import judge_flow, run
from reasrm.prompts import Pack
from reasrm.types import Ask, Completion, Judgment, NoVerdict, Options, Order, Pair
from reasrm_serving.engines.pool import EnginePool

LARGE = 50_000  # characters, whose prompt takes milliseconds to write
#: Takes a piece of a reply: which order it reads the pair in, the how manieth reply it is (from 0), and the text.
Emit = Callable[[Order, int, str], None]
#: Says why a pair is none of the judge's business; None where it is.
Domain = Callable[[Pair], str | None]


@dataclass(frozen=True, slots=True)
class Fresh:
    """A new judgment. `weight_version` is None where its opinions come from different weights: then it stands for neither."""

    judgment: Judgment
    weight_version: str | None

    @property
    def keeps(self) -> bool:
        """Whether the judgment may be stored."""
        outcome = self.judgment.outcome
        return self.weight_version is not None and not (isinstance(outcome, NoVerdict) and outcome.failed)


@dataclass(frozen=True, slots=True)
class PoolJudge:
    """Judges by `engines` with `pack`; `key` is the secret behind its fences, `domain` the embedded judge's own limits."""

    engines: EnginePool
    pack: Pack
    key: bytes
    domain: Domain | None = None
    _one_by_one: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def judge(self, pair: Pair, options: Options, emit: Emit | None = None) -> Fresh:
        """Judge `pair`; `emit` is given the replies as they are written. Raises `InputError` for what the engine cannot take."""
        if self.domain is not None and (why := self.domain(pair)) is not None:
            info = await self.engines.now()
            outside = NoVerdict(reason="outside_domain", detail=why)
            judgment = Judgment(
                outcome=outside, model=info.model, weight_version=info.weight_version, prompt_digest=self.pack.digest
            )
            return Fresh(judgment, info.weight_version)
        if sum(len(message.content) for message in (*pair.question, *pair.a, *pair.b)) > LARGE:
            async with self._one_by_one:  # a whole group of prompts at once would keep the event loop from everybody else
                await asyncio.sleep(0)
        asked = _EngineCalls(self.engines, emit)
        judgment = await run(judge_flow(pair, options, self.pack, self.key), asked)
        if len(asked.versions) > 1:  # it names them all
            judgment = judgment.model_copy(update={"weight_version": "+".join(sorted(asked.versions))})
        return Fresh(judgment, asked.versions.pop() if len(asked.versions) == 1 else None)


class _EngineCalls:
    """The engines during one judgment: notes the weight versions, and passes the text on while it is written."""

    def __init__(self, engines: EnginePool, emit: Emit | None) -> None:
        self.versions: set[str] = set()
        self._engines, self._emit = engines, emit
        self._count = 0

    async def complete(self, ask: Ask) -> Completion:
        number, self._count = self._count, self._count + 1
        if self._emit is None:
            completion = await self._engines.complete(ask)
        else:
            completion = await self._stream(ask, number, self._emit)
        self.versions.add(completion.weight_version)
        return completion

    async def _stream(self, ask: Ask, number: int, emit: Emit) -> Completion:
        if ask.prefill:
            emit(ask.order, number, ask.prefill)
        last: Any = None
        async for last in self._engines.stream(ask):
            if isinstance(last, str):
                emit(ask.order, number, last)
        return cast(Completion, last)
