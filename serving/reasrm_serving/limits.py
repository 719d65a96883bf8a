"""How much may be under way at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from reasrm.errors import EngineBusy

RETRY_AFTER_S = 1.0


class Slots:
    """As many judgments as may be under way. A single request takes a slot or is refused at once; the parts of a batch wait."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.taken = 0
        self._free = asyncio.Semaphore(slots)

    def check(self) -> None:
        """Raise `EngineBusy` if no slot is free."""
        if self._free.locked():
            raise EngineBusy(f"{self.taken} judgments are under way: no room for another", retry_after_s=RETRY_AFTER_S)

    @asynccontextmanager
    async def now(self) -> AsyncGenerator[None]:
        """A slot, or `EngineBusy` at once."""
        self.check()
        async with self.in_turn():
            yield

    @asynccontextmanager
    async def in_turn(self) -> AsyncGenerator[None]:
        """A slot as soon as one is free, first come first served."""
        async with self._free:
            self.taken += 1
            try:
                yield
            finally:
                self.taken -= 1
