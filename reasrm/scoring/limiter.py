"""Requests in flight, held within a bound that moves, with the refusals of the engine waited out."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from reasrm.errors import EngineBusy, EngineError, EngineUnreachable, GatewayError, GatewayUnreachable, Refused
from reasrm.scoring.aimd import Aimd

T = TypeVar("T")
TRIES = 3
START = 128  # requests in flight before anything is known of the engine: two batches of a small one


class Limiter:
    """At most `limit` requests at once: `fixed` of them, or as many as `Aimd` finds after every round of `limit` answers.

    `start`: where it begins to look; `patience_s`: how long nothing may succeed before the run stops.
    """

    def __init__(self, fixed: int | None = None, *, start: int = START, patience_s: float = 300.0) -> None:
        self.in_flight = 0
        self.refusals = 0
        self._aimd = Aimd(float(fixed or start))
        self._fixed = fixed is not None
        self._patience_s = patience_s
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._turns = itertools.count()
        self._succeeded_at = time.monotonic()
        self._new_round()

    @property
    def limit(self) -> int:
        """How many requests may be in flight now."""
        return int(self._aimd.limit)

    async def run(self, call: Callable[[], Awaitable[T]], failed: Callable[[T], bool] = lambda _: False) -> T:
        """Await `call()` within the limit.

        Whoever came first goes first, also after a failure: so the parts of a row end together, and the row is safe, soon after
        an engine is back. A refusal and an engine that is away are waited out; Refused is raised when nothing was answered for
        the patience. What fails otherwise (`failed` of its result, or an EngineError) is tried `TRIES` times, and then is as it is.
        """
        turn, tries, pauses = next(self._turns), 0, 0
        while True:
            started = await self._enter(turn)
            try:
                result = await call()
                if not failed(result):
                    self._answered(time.monotonic() - started)
                    return result
                tries += 1
                if tries == TRIES:
                    return result
                error = None
            except (EngineError, GatewayError) as failure:
                error = failure
                away = isinstance(failure, EngineBusy | EngineUnreachable | GatewayUnreachable)
                if not away and getattr(failure, "status", 0) != 429:
                    tries += 1
                    if tries == TRIES or isinstance(failure, GatewayError):
                        raise
            finally:
                self._leave()
            self.refused()
            await asyncio.sleep(self._pause(pauses, error))
            pauses += 1

    def refused(self) -> None:
        """The engine had no room: fall back, once a round."""
        self.refusals += 1
        if not self._refused and not self._fixed:
            self._refused = True
            self._aimd.refused()

    def _pause(self, attempt: int, error: Exception | None) -> float:
        silent = time.monotonic() - self._succeeded_at
        if silent > self._patience_s:
            raise Refused(f"nothing was answered for {silent:.0f} s ({error or 'every judgment failed'})")
        asked = getattr(error, "retry_after_s", None)
        return asked if asked is not None else min(10.0, 0.2 * 2**attempt) * random.uniform(0.5, 1.5)

    async def _enter(self, turn: int) -> float:
        """Wait for a place; return the time at which there was one."""
        if self.in_flight >= self.limit:
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (turn, place))
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():  # the place was given to one who has gone
                    self._leave()
                raise
        else:
            self.in_flight += 1
        return time.monotonic()

    def _leave(self) -> None:
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
