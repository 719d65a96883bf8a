"""The queue of judgments under random arrivals, cancellations, waits that are over at once, and releases."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import pytest
from reasrm_serving.auth.context import Caller, Principal, caller, principal
from reasrm_serving.judging.fair_queue import FairQueue

from reasrm.errors import EngineBusy

STEPS = 400


@dataclass(eq=False)
class QueuedJudgment:
    """A judgment that takes a turn of `queue` and holds it until it is told to end."""

    queue: FairQueue
    rng: random.Random
    bounded: bool = False
    cancelled: bool = False
    inside: bool = False
    had_its_turn: bool = False
    end: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Wait for the turn, at most for a moment where it is `bounded`."""
        key = self.rng.randrange(3)
        principal.set(Principal(f"key {key}", priority=key % 2))
        caller.set(Caller(f"run {self.rng.randrange(3)}"))
        async with self.queue.turn(0.0 if self.bounded else None):
            self.inside = self.had_its_turn = True
            try:
                await self.end.wait()
            finally:
                self.inside = False


class Crowd:
    """All judgments of one queue and what may happen to them."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.queue = FairQueue(self.rng.randint(1, 4))
        self.tasks: dict[QueuedJudgment, asyncio.Task[None]] = {}

    def arrive(self) -> None:
        """One more judgment; every fourth waits for a moment only."""
        judgment = QueuedJudgment(self.queue, self.rng, bounded=self.rng.random() < 0.25)
        self.tasks[judgment] = asyncio.create_task(judgment.run())

    def cancel(self) -> None:
        """Cancel a judgment, wherever it is."""
        running = [judgment for judgment, task in self.tasks.items() if not task.done()]
        if running:
            judgment = self.rng.choice(running)
            judgment.cancelled = True
            self.tasks[judgment].cancel()

    def release(self) -> None:
        """Let a judgment that has its turn end."""
        inside = [judgment for judgment in self.tasks if judgment.inside]
        if inside:
            self.rng.choice(inside).end.set()

    def check(self) -> None:
        """No more turns are taken than there are."""
        assert sum(judgment.inside for judgment in self.tasks) <= self.queue.taken <= self.queue.slots

    async def settle(self) -> None:
        """Let everything happen that can happen, and check that no slot stays free while somebody waits."""
        for _ in range(12):
            await asyncio.sleep(0)
            self.check()
        await asyncio.sleep(0.001)  # waits of no length are over
        for _ in range(12):
            await asyncio.sleep(0)
        inside = sum(judgment.inside for judgment in self.tasks)
        waiting = sum(not task.done() and not judgment.inside for judgment, task in self.tasks.items())
        assert inside == self.queue.taken
        assert inside == self.queue.slots or not waiting


@pytest.mark.parametrize("seed", range(12))
async def test_random_arrivals_cancellations_and_releases_lose_nobody_and_never_exceed_the_slots(seed: int) -> None:
    crowd = Crowd(seed)
    for _ in range(STEPS):
        # Several things happen in one moment, before any task has run: a wake and a cancellation among them.
        for _ in range(crowd.rng.randint(1, 4)):
            crowd.rng.choice((crowd.arrive, crowd.arrive, crowd.cancel, crowd.release, crowd.release))()
        crowd.check()
        if crowd.rng.random() < 0.3:
            await crowd.settle()
        else:
            await asyncio.sleep(0)
    for judgment in crowd.tasks:
        judgment.end.set()
    ended = await asyncio.wait_for(asyncio.gather(*crowd.tasks.values(), return_exceptions=True), 20)
    for judgment, error in zip(crowd.tasks, ended, strict=True):
        match error:
            case None:
                assert judgment.had_its_turn
            case EngineBusy():
                assert judgment.bounded and not judgment.had_its_turn
            case _:
                assert isinstance(error, asyncio.CancelledError) and judgment.cancelled
    assert crowd.queue.free
    assert crowd.queue.taken == 0
