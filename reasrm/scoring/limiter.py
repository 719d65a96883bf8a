"""Requests in flight, held within a bound that moves, with an engine's or gateway's failures waited out."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from reasrm.errors import EngineBusy, EngineTimeout, EngineUnreachable, GatewayError, GatewayUnreachable, ReasrmError, Refused
from reasrm.failures import is_transient
from reasrm.scoring.aimd import Aimd

T = TypeVar("T")
TRIES = 3  # attempts of a request that fails while others succeed
START = 4  # requests in flight at the start: even a slow engine has two slots, and a fast one raises the bound within seconds
LONGEST_PAUSE_S = 10.0


class Limiter:
    """At most `limit` requests at once: `fixed` of them, or as many as `Aimd` finds after every round of `limit` answers.

    `start`: the first bound. `patience_s`: the run stops if nothing succeeds for so long. An optional `probe` says whether the
    engine answers: if so, a request that still fails is itself at fault, and the run goes on without it.

    A request that came too late while others were in flight may have waited for them: the bound falls, also a fixed one, and the
    request is sent again. So a run that fills a slow engine finds its pace and does not fail.
    """

    def __init__(self, fixed: int | None = None, *, start: int = START, patience_s: float = 300.0) -> None:
        self.in_flight = 0
        self.refusals = 0
        self.probe: Callable[[], Awaitable[bool]] | None = None
        self._aimd = Aimd(float(fixed or start))
        self._fixed = fixed is not None
        self._patience_s = patience_s
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._turns = itertools.count()
        self._succeeded_at = time.monotonic()
        self._slowed_at = self._crowded_at = 0.0
        self._new_round()

    def keep_near(self, slots: int) -> None:
        """Never more in flight than an engine with so many `slots` can work on, and one that waits; a fixed number stays."""
        if self._fixed:
            return
        self._aimd.highest = slots + 1.0
        self._aimd.limit = min(self._aimd.limit, self._aimd.highest)

    @property
    def limit(self) -> int:
        """How many requests may be in flight now."""
        return int(self._aimd.limit)

    async def run(self, call: Callable[[], Awaitable[T]], *, timeout_s: float | None = None) -> T:
        """Await `call()` within the limit, again after every transient failure (`reasrm.failures`).

        The oldest request goes first, also after a failure, so that all parts of a row finish soon after an engine is back. A
        request that fails `TRIES` times while others are answered raises its error. `timeout_s` bounds the time that the request
        itself takes (`_in_time`). Raises `Refused` when nothing was answered for `patience_s`, and every other failure at once.
        """
        turn, tries, pauses = next(self._turns), 0, 0
        while True:
            started = await self._enter(turn)
            try:
                async with self._in_time(timeout_s):
                    result = await call()
                self._answered(time.monotonic() - started)
                return result
            except (ReasrmError, TimeoutError) as failure:
                if not is_transient(failure):
                    raise
                error = failure
                crowded = _is_late(failure) and (self.in_flight > 1 or self._crowded_at >= started)
                tries += self._succeeded_at > started and not (crowded or _away(failure))
                if tries == TRIES:
                    raise
            finally:
                self._leave()
            if crowded:
                self._slow_down(started)
            else:
                self.refused()
            await self._check_patience(error, crowded=crowded)
            # Not stamina: a retry waits for its turn among all other requests.
            await asyncio.sleep(_pause_s(pauses, error))
            pauses += 1

    def refused(self) -> None:
        """The engine had no room: reduce the bound, once per round."""
        self.refusals += 1
        if not self._refused and not self._fixed:
            self._refused = True
            self._aimd.refused()

    def _slow_down(self, started: float) -> None:
        """A request that `started` then came too late behind others: reduce the bound, once for all that started before."""
        self.refusals += 1
        if started >= self._slowed_at:
            self._slowed_at = time.monotonic()
            self._aimd.overrun()

    async def _check_patience(self, error: Exception, *, crowded: bool) -> None:
        """Raise if nothing was answered for too long: `Refused`, or `error` if the engine answers and only this request fails.

        A request that was late in a `crowded` engine is sent again while the engine is there.
        """
        silent = time.monotonic() - self._succeeded_at
        if silent <= self._patience_s:
            return
        if self.probe is None and crowded:
            return
        if self.probe is not None and await self.probe():
            if crowded:
                return
            raise error
        hint = "; a longer --timeout may help" if isinstance(error, EngineTimeout) else ""
        raise Refused(f"nothing was answered for {silent:.0f} s ({error}{hint})")

    @asynccontextmanager
    async def _in_time(self, timeout_s: float | None) -> AsyncGenerator[None]:
        """Raise `EngineTimeout` after `timeout_s` seconds of the request's own time.

        Time in a queue that this run filled does not count: while others are answered, the request is still queued. It waits
        at most `timeout_s` for each request ahead of it.
        """
        if timeout_s is None:
            yield
            return
        loop = asyncio.get_running_loop()
        started, latest = time.monotonic(), time.monotonic() + timeout_s * self.in_flight

        def left_s() -> float:
            return min(latest, max(started, self._succeeded_at) + timeout_s) - time.monotonic()

        def look() -> None:
            nonlocal timer
            if left_s() > 0:
                timer = loop.call_later(left_s(), look)
            else:
                bound.reschedule(loop.time())

        timer = loop.call_later(timeout_s, look)
        try:
            async with asyncio.timeout(None) as bound:
                yield
        except TimeoutError:
            raise EngineTimeout(f"no answer within {timeout_s:g} s") from None
        finally:
            timer.cancel()

    async def _enter(self, turn: int) -> float:
        """Wait for a slot; return the time at which it was free."""
        if self.in_flight >= self.limit:
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (turn, place))
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():  # this slot was given to a caller that was cancelled
                    self._leave()
                raise
        else:
            self.in_flight += 1
        return time.monotonic()

    def _leave(self) -> None:
        if self.in_flight > 1:
            self._crowded_at = time.monotonic()
        self.in_flight -= 1
        while self._waiting and self.in_flight < self.limit:
            _, place = heapq.heappop(self._waiting)
            if not place.done():
                self.in_flight += 1
                place.set_result(None)

    def _new_round(self) -> None:
        self._refused = False
        self._answers = 0
        self._latency = 0.0
        self._round_started = time.monotonic()

    def _answered(self, latency: float) -> None:
        self._succeeded_at = time.monotonic()
        self._answers += 1
        self._latency += latency
        if self._answers >= max(8, self.limit):
            if not self._fixed and not self._refused:
                seconds = max(1e-9, self._succeeded_at - self._round_started)
                self._aimd.answered(self._answers / seconds, self._latency / self._answers)
            self._new_round()


def _is_late(error: Exception) -> bool:
    """Whether the answer did not come in time."""
    return isinstance(error, EngineTimeout | TimeoutError) or (isinstance(error, GatewayError) and error.reason == "deadline")


def _away(error: Exception) -> bool:
    """Whether the engine or gateway has no room or is away, which is never the fault of one request."""
    return isinstance(error, EngineBusy | EngineUnreachable | GatewayUnreachable) or (
        isinstance(error, GatewayError) and error.status == 429
    )


def _pause_s(attempt: int, error: Exception) -> float:
    """The seconds until the next try: as stated by the server (capped when it was parsed), else doubling, with jitter."""
    after: float | None = getattr(error, "retry_after_s", None)
    return after if after is not None else min(LONGEST_PAUSE_S, 0.2 * 2**attempt) * random.uniform(0.5, 1.5)
