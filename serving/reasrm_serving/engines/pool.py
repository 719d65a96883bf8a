"""The engines behind a gateway as one engine: a request that fails on one of them goes to another.

Many engines are better behind sglang-router, which knows what each has in its prefix cache (`reasrm serve --workers`); this is
for a few without it, and for one alone.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack

from reasrm.engine import EngineInfo, common
from reasrm.errors import ConfigurationError, EngineError, EngineRefused, EngineTimeout, EngineUnreachable, InputError
from reasrm.types import Ask, Completion
from reasrm_serving.engines.member import Member

RETRIES = 3


def backoff_s(attempt: int) -> float:
    """The seconds to wait after the failed try number `attempt` (from 0): doubling up to 8, with jitter."""
    return min(8.0, 0.25 * 2**attempt) * random.uniform(0.5, 1.5)


class EnginePool:
    """Completes and streams on the engine with the fewest requests under way. Use as an async context manager.

    A request that an engine fails goes to another one after a pause with jitter (to the same again where there is no other), at
    most `RETRIES` times; `on_retry` is called for each. A timeout goes only to an engine that was not tried yet: the same one has
    had its time. A refusal and a stream that has begun are not tried again.
    """

    def __init__(self, members: Sequence[Member], on_retry: Callable[[], None] = lambda: None) -> None:
        self.members, self._on_retry = tuple(members), on_retry
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> EnginePool:
        for member in self.members:
            await self._stack.enter_async_context(member)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def error(self) -> str | None:
        """The error of an engine, if no engine is healthy."""
        errors = [member.error for member in self.members]
        return None if None in errors else "; ".join(filter(None, errors))

    @property
    def versions(self) -> frozenset[str]:
        """The weight versions that are known to be served."""
        return frozenset(info.weight_version for info in self._infos())

    @property
    def known(self) -> EngineInfo | None:
        """What is served. Where engines differ, their names are joined by "+", a name that no judgment is kept under."""
        infos = self._infos()
        return _combined(infos) if infos else None

    async def now(self, deadline: float | None = None) -> EngineInfo:
        """The known `info`; before any is known, the engines are asked until `deadline`, a time of the running loop's clock.

        Raises `EngineError`, `InputError` or `TimeoutError` where that fails.
        """
        if (known := self.known) is not None:
            return known
        async with asyncio.timeout_at(deadline):
            return await self.refresh()

    async def refresh(self) -> EngineInfo:
        """Refresh all engines that may get requests. Raises `EngineError` or `InputError` where none answers."""
        members = [member for member in self.members if not member.open] or self.members
        answers = await asyncio.gather(*(member.refresh() for member in members), return_exceptions=True)
        errors = [answer for answer in answers if isinstance(answer, BaseException)]
        if len(errors) == len(answers):
            raise errors[0]
        return _combined(self._infos())

    async def complete(self, ask: Ask) -> Completion:
        """One completion of `ask`. Raises `EngineError` or `InputError`."""
        tried: list[Member] = []
        while True:
            member = self._next(tried)
            try:
                member.under_way += 1
                try:
                    completion = await member.engine.complete(ask)
                finally:
                    member.under_way -= 1
                if member.failures or member.busy_until:
                    member.succeeded()
                return completion
            except (EngineError, ConfigurationError) as error:
                await self._before_another(tried, member, error)

    async def stream(self, ask: Ask) -> AsyncIterator[str | Completion]:
        """The reply's text in pieces, then the whole completion. Raises as `complete`."""
        tried: list[Member] = []
        begun = False
        while True:
            member = self._next(tried)
            try:
                member.under_way += 1
                try:
                    async for piece in member.engine.stream(ask):
                        begun = True
                        yield piece
                finally:
                    member.under_way -= 1
                member.succeeded()
                return
            except (EngineError, ConfigurationError) as error:
                if begun:
                    member.failed(error)
                    raise
                await self._before_another(tried, member, error)

    async def load_weights(self, path: str, weight_version: str) -> EngineInfo:
        """Have every engine load the weights at `path`. Raises `EngineError` that names those which did not."""
        loads = (member.engine.load_weights(path, weight_version) for member in self.members)
        results = await asyncio.gather(*loads, return_exceptions=True)
        if mistake := next((result for result in results if isinstance(result, InputError)), None):
            raise mistake
        named = zip(self.members, results, strict=True)
        failed = [f"{member.name}: {result}" for member, result in named if isinstance(result, BaseException)]
        if failed:
            raise EngineError(f"{len(failed)} of {len(results)} engines did not load {path} ({'; '.join(failed)})")
        return await self.refresh()

    def _infos(self) -> list[EngineInfo]:
        """The engines that may get requests; all engines, if none may."""
        closed = [member.known for member in self.members if member.known and not member.open]
        return closed or [member.known for member in self.members if member.known]

    def _next(self, tried: Sequence[Member]) -> Member:
        """The engine to ask: one that was tried least often, that is not busy, with least under way."""
        closed = [member for member in self.members if not member.open]
        if not closed:
            if all(member.mistake for member in self.members):
                raise self.members[0].mistake or EngineError(self.error)
            raise EngineUnreachable(f"no engine gets requests until one answers again: {self.error}")
        if len(closed) == 1:
            return closed[0]
        now = time.monotonic()
        return min(closed, key=lambda member: (tried.count(member), member.busy_until > now, member.under_way, random.random()))

    async def _before_another(self, tried: list[Member], member: Member, error: EngineError | ConfigurationError) -> None:
        """Wait before the next try; raises `error` where there is none."""
        member.failed(error)
        tried.append(member)
        hopeless = isinstance(error, EngineRefused) or (
            isinstance(error, ConfigurationError) and all(other.mistake for other in self.members)
        )
        fresh = any(other not in tried and not other.open for other in self.members)
        if hopeless or len(tried) > RETRIES or (isinstance(error, EngineTimeout) and not fresh):
            raise error
        await asyncio.sleep(backoff_s(len(tried) - 1))
        self._on_retry()


def _combined(infos: Sequence[EngineInfo]) -> EngineInfo:
    """The merged `info` of several engines."""
    first = infos[0]
    if all(info == first for info in infos):
        return first
    return EngineInfo(
        model="+".join(sorted({info.model for info in infos})),
        weight_version="+".join(sorted({info.weight_version for info in infos})),
        max_context=min((info.max_context for info in infos if info.max_context), default=0),
        abilities=common([info.abilities for info in infos]),
    )
