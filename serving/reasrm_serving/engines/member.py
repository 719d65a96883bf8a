"""One engine of the pool: what it serves now, and whether it may get requests."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Protocol

from reasrm.engine import EngineInfo, HttpEngine
from reasrm.engine.table import table_of
from reasrm.errors import ConfigurationError, EngineBusy, EngineError, EngineRefused, EngineTimeout, InputError
from reasrm.types import Ask, Completion

ASK_S = 10.0
TRIPS = 3  # failures in a row, of requests or of asking what it serves, that open the circuit
log = logging.getLogger("reasrm.serving")


class Engine(Protocol):
    """The interface of the gateway's engines: a `Completer` that also streams and says what it serves."""

    async def complete(self, ask: Ask) -> Completion:
        """One completion; raises `EngineError` or `InputError`."""
        ...

    def stream(self, ask: Ask) -> AsyncIterator[str | Completion]:
        """The reply's text in pieces, then the whole completion."""
        ...

    async def info(self, *, refresh: bool = False) -> EngineInfo:
        """What is served."""
        ...

    async def load_weights(self, path: str, weight_version: str) -> EngineInfo:
        """Move to the weights at `path`, called `weight_version`; raises `InputError` where it cannot."""
        ...

    async def aclose(self) -> None:
        """Let go of connections."""
        ...


class Member:
    """An engine, its latest `info`, and its circuit. `error` says what is wrong with it, None where nothing is.

    The gateway refreshes `info` at the start, every `every_s` seconds, and when an answer names other weights. After a refresh it
    also measures once what the engine can do; nothing waits for that. `TRIPS` failures in
    a row open the circuit: then it gets no request until a refresh succeeds. After that one more failure opens it again, and a
    request that succeeds closes it for good. `mistake` is its latest failure where that is one of the set-up, which no retry cures.
    `on_failure` is called for every request that it failed. The pool counts what is `under_way` and resets `failures`.
    """

    def __init__(self, engine: Engine, name: str, every_s: float, on_failure: Callable[[], None] = lambda: None) -> None:
        self.engine, self.name = engine, name
        self.error: str | None = "not asked yet"
        self.mistake: ConfigurationError | None = None
        self.known: EngineInfo | None = None
        self.under_way = 0
        self.busy_until = 0.0
        self.failures = 0
        self.open = False
        self._every_s, self._on_failure = every_s, on_failure
        self._asking: asyncio.Task[EngineInfo] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[None] | None = None
        self._probe_from, self._probe_pause_s = 0.0, every_s

    async def __aenter__(self) -> Member:
        self._watch = asyncio.create_task(self._refresh_now_and_then())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._watch, self._asking, self._probing):
            if task is not None:
                task.cancel()
        await self.engine.aclose()

    def succeeded(self) -> None:
        """Close the circuit after a request that succeeded."""
        self.failures, self.busy_until, self.open = 0, 0.0, False

    def failed(self, error: Exception) -> None:
        """Take note of a request that ended in `error`."""
        if isinstance(error, EngineRefused):  # the request is at fault, not the engine
            return
        self._on_failure()
        if isinstance(error, EngineBusy):  # a busy engine is alive
            self.busy_until = time.monotonic() + (error.retry_after_s or 1.0)
        else:
            self._count(error)

    async def refresh(self) -> EngineInfo:
        """Ask what it serves; callers at the same time get the same answer. Raises `EngineError` or `InputError`."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(_look_at)
        return await asyncio.shield(self._asking)

    async def _ask(self) -> EngineInfo:
        try:
            async with asyncio.timeout(ASK_S):
                info = await self.engine.info(refresh=True)
        except TimeoutError:
            late = EngineTimeout(f"the engine at {self.name} did not say within {ASK_S:g} s what it serves")
            self._count(late, shown=True)
            raise late from None
        except (EngineError, InputError) as error:
            self._count(error, shown=True)
            raise
        if info != self.known:
            log.info("%s serves %s, weights %s", self.name, info.model, info.weight_version or "without a version")
        self.known, self.error, self.mistake = info, None, None
        self.failures, self.open = min(self.failures, TRIPS - 1), False
        self._probe_if_new(info)
        return info

    def _probe_if_new(self, info: EngineInfo) -> None:
        """Measure what the engine can do, if that is not known. A busy engine is asked again later, after longer and longer."""
        if not isinstance(self.engine, HttpEngine) or info.abilities.probed or time.monotonic() < self._probe_from:
            return
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._probe(self.engine))

    async def _probe(self, engine: HttpEngine) -> None:
        with suppress(EngineError, InputError):  # no ability is needed: the engine serves without
            info = await engine.probe(within_s=None)
            if info.abilities.probed:
                self.known, self._probe_pause_s = info, self._every_s
                log.info("%s: %s", self.name, ", ".join(f"{row.ability} {row.here}" for row in table_of(info)))
                return
        self._probe_from, self._probe_pause_s = time.monotonic() + self._probe_pause_s, 2 * self._probe_pause_s

    def _count(self, error: Exception, *, shown: bool = False) -> None:
        was_open, before = self.open, self.error
        self.failures += 1
        self.open = self.failures >= TRIPS
        self.mistake = error if isinstance(error, ConfigurationError) else None
        if shown or self.open:
            self.error = str(error)
        if self.open and not was_open:
            log.warning("%s gets no requests until it answers again: %s", self.name, error)
        elif self.error != before:  # once per outage, not at every check
            log.warning("%s", error)

    async def _refresh_now_and_then(self) -> None:
        while True:
            with suppress(EngineError, InputError):  # `error` holds it
                await self.refresh()
            await asyncio.sleep(self._every_s)


def _look_at(asking: asyncio.Task[EngineInfo]) -> None:
    """Retrieve the error: asyncio logs errors that nobody retrieves, and every caller may have left."""
    if not asking.cancelled():
        asking.exception()
