"""What the engine serves at this moment: asked at the start, every few seconds, and when an answer says otherwise."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Protocol

from reasrm.engine import EngineInfo
from reasrm.errors import EngineError, EngineTimeout, InputError
from reasrm.types import Ask, Completion
from reasrm_serving.inflight import Flights

ASK_S = 10.0
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


class Served:
    """The engine's latest `EngineInfo`; `error` says why the last asking failed, None where it did not."""

    def __init__(self, engine: Engine, every_s: float) -> None:
        self.engine = engine
        self.error: str | None = "not asked yet"
        self._every_s = every_s
        self._info: EngineInfo | None = None
        self._asking: Flights[EngineInfo] = Flights()
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Served:
        self._watch = asyncio.create_task(self._watched())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watch is not None:
            self._watch.cancel()

    async def now(self) -> EngineInfo:
        """What is served, as known; raises `EngineError` where nothing ever was."""
        return self._info or await self.refresh()

    async def refresh(self) -> EngineInfo:
        """Ask the engine; who asks at the same time gets the same answer. Raises `EngineError` or `InputError`."""
        return await self._asking.join("info", self._ask)

    async def _ask(self) -> EngineInfo:
        try:
            async with asyncio.timeout(ASK_S):
                info = await self.engine.info(refresh=True)
        except TimeoutError:
            self.error = f"the engine did not say within {ASK_S:g} s what it serves"
            raise EngineTimeout(self.error) from None
        except (EngineError, InputError) as error:
            self.error = str(error)
            raise
        if info != self._info:
            log.info("the engine serves %s, weights %s", info.model, info.weight_version or "without a version")
        self._info, self.error = info, None
        return info

    async def _watched(self) -> None:
        while True:
            said = self.error
            try:
                await self.refresh()
            except (EngineError, InputError) as error:
                if str(error) != said:  # once, not every other second
                    log.warning("%s", error)
            await asyncio.sleep(self._every_s)
