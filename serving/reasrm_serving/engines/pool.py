"""The engines behind a gateway as one engine: a request that fails on one of them goes to another.

Many engines are better behind sglang-router, which knows what each has in its prefix cache (`reasrm serve --workers`); this is
for a few without it, and for one alone.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from reasrm.engine import EngineInfo, common
from reasrm.errors import ConfigurationError, EngineError, EngineRefused, EngineTimeout, EngineUnreachable, InputError
from reasrm.types import Ask, Completion
from reasrm_serving.engines.member import Member

RETRIES = 3


def backoff_s(attempt: int) -> float:
    """The seconds to wait after the failed try number `attempt` (from 0): doubling up to 8, with jitter."""
    return min(8.0, 0.25 * 2**attempt) * random.uniform(0.5, 1.5)


class Places:
    """The requests that one engine has at once; the others wait here, in order, so that an engine's time counts from its start.

    An engine with slots gets one request per slot and one that waits. Any engine gets a quarter of its requests after some of them
    came too late, and then one more per round that is answered in time.
    """

    def __init__(self) -> None:
        self.taken = 0
        self._limit = self._most = math.inf
        self._slowed_at = self._crowded_at = -math.inf
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def place(self, info: EngineInfo | None) -> AsyncGenerator[None]:
        """A place for one request to the engine of `info`. Raises `_Crowded` for a timeout that others may have caused."""
        self._fit(info)
        started = await self._take()
        try:
            yield
            self._answered()
        except EngineTimeout as late:
            if self._was_crowded(started):
                raise _Crowded(str(late)) from late
            raise
        finally:
            self._give_back()

    def _fit(self, info: EngineInfo | None) -> None:
        slots = info.abilities.slots if info is not None and info.abilities.prefixes == "slots" else None
        most = math.inf if slots is None else slots + 1
        if most != self._most:
            self._limit = self._most = most

    async def _take(self) -> float:
        if self._waiting or self.taken + 1 > self._limit:
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():  # it was given to a caller that had left
                    self._give_back()
                raise
        else:
            self.taken += 1
        return time.monotonic()

    def _give_back(self) -> None:
        if self.taken > 1:
            self._crowded_at = time.monotonic()
        self.taken -= 1
        while self._waiting and self.taken + 1 <= self._limit:
            place = self._waiting.popleft()
            if not place.done():
                self.taken += 1
                place.set_result(None)

    def _answered(self) -> None:
        if self._limit < self._most:
            self._limit = min(self._most, self._limit + 1 / self._limit)

    def _was_crowded(self, started: float) -> bool:
        """Whether others were in the way of a request that `started` then and came too late. Then the engine gets fewer at once."""
        crowded = self.taken > 1 or self._crowded_at >= started
        if crowded and started >= self._slowed_at:
            self._slowed_at = time.monotonic()
            self._limit = max(1.0, min(self._limit, self.taken) / 4)
        return crowded


class _Crowded(EngineTimeout):
    """An answer that came too late while the engine worked on other requests too."""


class EnginePool:
    """Completes and streams on the engine with the fewest requests under way. Use as an async context manager.

    A request that an engine fails goes to another one after a pause with jitter (to the same again where there is no other), at
    most `RETRIES` times; `on_retry` is called for each. A timeout goes only to an engine that was not tried yet: the same one has
    had its time, unless it worked on other requests too (`Places`). A refusal and a stream that has begun are not tried again.
    """

    def __init__(self, members: Sequence[Member], on_retry: Callable[[], None] = lambda: None) -> None:
        self.members, self._on_retry = tuple(members), on_retry
        self._places = {member: Places() for member in self.members}
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
                    async with self._places[member].place(member.known):
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
                    async with self._places[member].place(member.known):
                        async for piece in member.engine.stream(ask):
                            begun = True
                            yield piece
                finally:
                    member.under_way -= 1
                member.succeeded()
                return
            except (EngineError, ConfigurationError) as error:
                if begun:
                    _note(member, error)
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
        _note(member, error)
        tried.append(member)
        hopeless = isinstance(error, EngineRefused) or (
            isinstance(error, ConfigurationError) and all(other.mistake for other in self.members)
        )
        fresh = any(other not in tried and not other.open for other in self.members)
        late = isinstance(error, EngineTimeout) and not isinstance(error, _Crowded)
        if hopeless or len(tried) > RETRIES or (late and not fresh):
            raise error
        await asyncio.sleep(backoff_s(len(tried) - 1))
        self._on_retry()


def _note(member: Member, error: Exception) -> None:
    """Count a failure, unless this gateway caused it: a full engine is not broken."""
    if not isinstance(error, _Crowded):
        member.failed(error)


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
