"""Limits the judgments under way, and decides which waiting judgment comes next."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from reasrm.errors import EngineBusy
from reasrm_serving.auth.context import caller, principal

RETRY_AFTER_S = 1.0
#: The waiting judgments of one training run, the oldest first.
_Line = OrderedDict[asyncio.Future[None], None]


class FairQueue:
    """The slots, one for each judgment that may be under way.

    A free slot goes to the highest priority that waits, within it to the keys in turn, and within a key to its runs in turn: a run
    with a thousand waiting judgments delays another's next one by no more than one judgment per run, and a key with a thousand runs
    delays another key's by no more than one judgment per key.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.taken = 0
        #: By negated priority and the key's name, then by run. The first entry has waited longest for its turn.
        self._waiting: OrderedDict[tuple[int, str], OrderedDict[str, _Line]] = OrderedDict()

    @property
    def free(self) -> bool:
        """Whether a slot can be taken without waiting."""
        return self.taken < self.slots and not self._waiting

    def turn(self, wait_s: float | None = None) -> _Turn:
        """`async with` it: a slot as soon as it is this caller's turn; `EngineBusy` where that takes longer than `wait_s`."""
        return _Turn(self, wait_s)

    async def take(self, wait_s: float | None) -> None:
        """Take a slot, which `give_back` must follow."""
        if self.free:
            self.taken += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place, run = _place()
        self._waiting.setdefault(place, OrderedDict()).setdefault(run, OrderedDict())[turn] = None
        try:
            async with asyncio.timeout(wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # the slot was granted at the same moment: pass it on
                self.give_back()
            else:
                self._leave(place, run, turn)
            if isinstance(error, TimeoutError):
                raise EngineBusy(
                    f"{self.taken} judgments are under way: no room for another", retry_after_s=RETRY_AFTER_S
                ) from None
            raise

    def give_back(self) -> None:
        """Give a slot back, or pass it to the next waiting judgment."""
        self.taken -= 1
        while self.taken < self.slots and self._waiting:
            turn = self._next()
            if not turn.done():  # a cancelled one is still in its line until its task has run
                self.taken += 1
                turn.set_result(None)

    def _next(self) -> asyncio.Future[None]:
        place = min(self._waiting, key=lambda place: place[0])  # of equal priorities the key that has waited longest
        runs = self._waiting[place]
        run, line = next(iter(runs.items()))
        turn, _ = line.popitem(last=False)
        runs.move_to_end(run)
        self._waiting.move_to_end(place)
        self._drop_empty(place, run)
        return turn

    def _leave(self, place: tuple[int, str], run: str, turn: asyncio.Future[None]) -> None:
        """Remove a judgment that no longer waits from its line, unless `_next` did."""
        runs = self._waiting.get(place)
        if runs is not None and turn in runs.get(run, ()):
            del runs[run][turn]
            self._drop_empty(place, run)

    def _drop_empty(self, place: tuple[int, str], run: str) -> None:
        runs = self._waiting[place]
        if not runs[run]:
            del runs[run]
        if not runs:
            del self._waiting[place]


class _Turn:
    """A slot for the length of an `async with`."""

    __slots__ = ("_queue", "_wait_s")

    def __init__(self, queue: FairQueue, wait_s: float | None) -> None:
        self._queue, self._wait_s = queue, wait_s

    async def __aenter__(self) -> None:
        await self._queue.take(self._wait_s)

    async def __aexit__(self, *_: object) -> None:
        self._queue.give_back()


def _place() -> tuple[tuple[int, str], str]:
    holder, named = principal.get(), caller.get()
    return (-holder.priority, holder.name), (named.run if named else None) or ""
