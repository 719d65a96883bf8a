"""One engine as the gateway knows it: what it serves at this moment, and whether it may be asked."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager, suppress
from typing import Protocol

from reasrm.engine import EngineInfo
from reasrm.errors import ConfigurationError, EngineBusy, EngineError, EngineRefused, EngineTimeout, InputError
from reasrm.types import Ask, Completion
from reasrm_serving.judging.single_flight import SingleFlight

ASK_S = 10.0
TRIPS = 3  # failures in a row, of requests or of asking what it serves, that open the circuit
log = logging.getLogger("reasrm.serving")


class Engine(Protocol):
    """An engine as the gateway wants it: a `Completer` that also streams and says what it serves."""

    async def complete(self, ask: Ask) -> Completion:
        """One completion; raises `EngineError` or `TooLong`."""
        ...

    def stream(self, ask: Ask) -> AsyncIterator[str | Completion]:
        """The reply's text in pieces, then the whole completion."""
        ...

    async def info(self, *, refresh: bool = False) -> EngineInfo:
        """What is served."""
        ...

    async def aclose(self) -> None:
        """Let go of connections and threads."""
        ...


class Member:
    """An engine, its latest `info`, and its circuit. `error` says what is wrong with it, None where nothing is.

    `mistake` is its latest error where that is one of the set-up. The engine is asked what it serves at the start, every
    `every_s` seconds, and when an answer says otherwise. `TRIPS` failures in a row open the circuit: then it gets no request
    until that asking succeeds. After that one more failure opens it again, and a request that succeeds closes it for good.
    `on_failure` is called for every request that it failed.
    """

    def __init__(self, engine: Engine, name: str, every_s: float, on_failure: Callable[[], None] = lambda: None) -> None:
        self.engine, self.name = engine, name
        self.error: str | None = "not asked yet"
        self.mistake: ConfigurationError | None = None
        self.known: EngineInfo | None = None
        self.under_way = 0
        self.busy_until = 0.0
        self._failures = 0
        self._every_s, self._on_failure = every_s, on_failure
        self._asking: SingleFlight[EngineInfo] = SingleFlight()
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Member:
        self._watch = asyncio.create_task(self._watched())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watch is not None:
            self._watch.cancel()
        await self.engine.aclose()

    @property
    def open(self) -> bool:
        """Whether its circuit is open."""
        return self._failures >= TRIPS

    @contextmanager
    def asked(self) -> Generator[None]:
        """Around a request to it: counts it while it is under way, and how it ends."""
        self.under_way += 1
        try:
            yield
            self._failures, self.busy_until = 0, 0.0
        except EngineRefused:  # the request's fault, not the engine's
            raise
        except EngineBusy as error:  # it lives, and says so
            self._on_failure()
            self.busy_until = time.monotonic() + (error.retry_after_s or 1.0)
            raise
        except (EngineError, ConfigurationError) as error:
            self._on_failure()
            self._failed(error)
            raise
        finally:
            self.under_way -= 1

    async def refresh(self) -> EngineInfo:
        """Ask what it serves; who asks at the same time gets the same answer. Raises `EngineError` or `InputError`."""
        return await self._asking.join("info", self._ask)

    async def _ask(self) -> EngineInfo:
        try:
            async with asyncio.timeout(ASK_S):
                info = await self.engine.info(refresh=True)
        except TimeoutError:
            late = EngineTimeout(f"the engine at {self.name} did not say within {ASK_S:g} s what it serves")
            self._failed(late, said=True)
            raise late from None
        except (EngineError, InputError) as error:
            self._failed(error, said=True)
            raise
        if info != self.known:
            log.info("%s serves %s, weights %s", self.name, info.model, info.weight_version or "without a version")
        self.known, self.error, self.mistake = info, None, None
        self._failures = min(self._failures, TRIPS - 1)
        return info

    def _failed(self, error: Exception, *, said: bool = False) -> None:
        was_open, before = self.open, self.error
        self._failures += 1
        self.mistake = error if isinstance(error, ConfigurationError) else None
        if said or self.open:
            self.error = str(error)
        if self.open and not was_open:
            log.warning("%s gets no requests until it answers again: %s", self.name, error)
        elif self.error != before:  # once, not every other second
            log.warning("%s", error)

    async def _watched(self) -> None:
        while True:
            with suppress(EngineError, InputError):  # `error` says it
                await self.refresh()
            await asyncio.sleep(self._every_s)
