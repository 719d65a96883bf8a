"""How much may be under way at once, and whose turn it is when something gets free."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from reasrm.errors import EngineBusy
from reasrm_serving.auth.context import caller, principal

RETRY_AFTER_S = 1.0
Flow = tuple[int, str, str]  # minus the priority, the key's name, the run


class FairQueue:
    """As many judgments as may be under way. A single request takes a slot or is refused at once; parts of a group or batch wait.

    A free slot goes to the highest priority that waits, and within it to the runs in turn: a run with a thousand judgments waiting
    delays another's next one by no more than one judgment of each run.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.taken = 0
        self._waiting: OrderedDict[Flow, deque[asyncio.Future[None]]] = OrderedDict()

    def check(self) -> None:
        """Raise `EngineBusy` if no slot is free."""
        if self.taken >= self.slots or self._waiting:
            raise EngineBusy(f"{self.taken} judgments are under way: no room for another", retry_after_s=RETRY_AFTER_S)

    @asynccontextmanager
    async def now(self) -> AsyncGenerator[None]:
        """A slot, or `EngineBusy` at once."""
        self.check()
        async with self.in_turn():
            yield

    @asynccontextmanager
    async def in_turn(self) -> AsyncGenerator[None]:
        """A slot as soon as it is this caller's turn."""
        await self._take()
        try:
            yield
        finally:
            self.taken -= 1
            self._wake()

    async def _take(self) -> None:
        if self.taken < self.slots and not self._waiting:
            self.taken += 1
            return
        flow = _flow()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(flow, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was our turn in the same moment
                self.taken -= 1
            elif flow in self._waiting:
                self._waiting[flow].remove(turn)
                if not self._waiting[flow]:
                    del self._waiting[flow]
            self._wake()
            raise

    def _wake(self) -> None:
        while self.taken < self.slots and self._waiting:
            flow = min(self._waiting, key=lambda each: each[0])  # of equal priorities the one that has waited longest for its turn
            turns = self._waiting[flow]
            turn = turns.popleft()
            self._waiting.move_to_end(flow)
            if not turns:
                del self._waiting[flow]
            if not turn.done():
                self.taken += 1
                turn.set_result(None)


def _flow() -> Flow:
    who, asked = principal.get(), caller.get()
    return -who.priority, who.name, (asked.run if asked else None) or ""
