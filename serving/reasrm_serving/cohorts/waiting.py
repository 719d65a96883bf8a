"""Which waiting rollouts are sent back for a while, so that a client with few connections can bring the others.

slime's client has 64 connections: where each holds a rollout that waits for its cohort, the rollouts that they wait for never come.
So when more rollouts of a run wait than its `hold` (at all gateways together), the oldest are answered early with 503. They stay
registered, and their next try finds its place. With fewer waiting, none is sent back.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import secrets
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from reasrm_serving.cohorts.result import Reward
from reasrm_serving.cohorts.store import SentBack, Store, StoreUnavailable

GRACE_S = 1.0  # a rollout waits at least so long: most cohorts are complete by then
BEAT_S = 0.5  # how often gateways tell each other how many wait
MOST_RETURNS = 8  # slime tries ten times, with pauses of 1, 2, 4 ... 30 s: over two minutes in all


@dataclass(eq=False, slots=True)
class Waiter:
    """A rollout that waits here at its place, until `deadline` (a time of the loop's clock).

    The answer is None where the cohort was ranked without this text. `failures` is how often ranking had failed when it came.
    """

    token: str
    deadline: float
    failures: int
    returns: int
    since: float
    answer: asyncio.Future[Reward | None]


@dataclass(slots=True)
class _Run:
    """The waiters of a run, and whether the cohort of each still gathers; `others` wait at other gateways."""

    hold: int
    waiters: dict[Waiter, Callable[[], bool]] = field(default_factory=dict[Waiter, Callable[[], bool]])
    others: int = 0


class WaitingRoom:
    """The waiting rollouts of a gateway by run. `on_sent_back` is called with the run of each rollout that is sent back."""

    def __init__(self, store: Store, on_sent_back: Callable[[str], None] = lambda _: None) -> None:
        self._store, self._on_sent_back = store, on_sent_back
        self._gateway = secrets.token_hex(8)
        self._runs: dict[str, _Run] = {}
        self._beat: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def place(self, run: str, hold: int, waiter: Waiter, gathers: Callable[[], bool]) -> Generator[None]:
        """Let `waiter` wait here; its answer may become `SentBack`. With a `hold` of 0 it never does."""
        if not hold:
            yield
            return
        here = self._runs.setdefault(run, _Run(hold))
        here.hold = hold
        here.waiters[waiter] = gathers
        if self._beat is None or self._beat.done():
            self._beat = asyncio.create_task(self._tell_others())
        self._send_back(run)
        timer = asyncio.get_running_loop().call_later(GRACE_S, self._send_back, run)
        try:
            yield
        finally:
            timer.cancel()
            del here.waiters[waiter]
            if not here.waiters:
                self._runs.pop(run, None)

    async def aclose(self) -> None:
        """Stop exchanging counts with other gateways."""
        if self._beat is not None:
            self._beat.cancel()
            await asyncio.gather(self._beat, return_exceptions=True)

    def _send_back(self, run: str) -> None:
        """Send back the surplus: first rollouts of cohorts that still gather, and of these the oldest."""
        here = self._runs.get(run)
        if here is None:
            return
        now = asyncio.get_running_loop().time()
        waiting = [waiter for waiter in here.waiters if not waiter.answer.done()]
        total = len(waiting) + here.others
        excess = math.ceil((total - here.hold) * len(waiting) / max(1, total))
        ripe = [waiter for waiter in waiting if now - waiter.since >= GRACE_S and waiter.returns < MOST_RETURNS]
        ripe.sort(key=lambda waiter: (not here.waiters[waiter](), waiter.since))
        for waiter in ripe[: max(0, excess)]:
            waiter.answer.set_exception(
                SentBack(f"{total} rollouts of this run wait for their cohorts, more than hold={here.hold}")
            )
            self._on_sent_back(run)

    async def _tell_others(self) -> None:
        """Exchange counts with the other gateways while rollouts wait here."""
        while self._runs:
            for run, here in tuple(self._runs.items()):
                count = len(here.waiters)
                with contextlib.suppress(StoreUnavailable):
                    name = hashlib.blake2b(run.encode(errors="surrogatepass"), digest_size=16).hexdigest()
                    here.others = max(0, await self._store.waiting(name, self._gateway, count) - count)
                    self._send_back(run)
            await asyncio.sleep(BEAT_S)
