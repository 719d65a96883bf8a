"""A cohort at one gateway: the rollouts that wait for it here, and the task that brings it from gathering to its rewards.

The states are those of the store (see `store`), and every step is taken there, so it does not matter which gateway takes it:

    gathering   wait until the cohort is full or its time to gather is over; then claim it
    ranking     the gateway that has the claim ranks; the others wait, and claim it when that gateway is gone
    ranked      collect the rewards of the callers that wait here, and end
    failed      tell the callers that wait here, and end; or claim it again for a rollout that came back after the failure

Callers come and go (`join`, `leave`); the task goes on without them, so callers that come back get the rewards.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from reasrm_serving.cohorts.early import EarlyComparisons
from reasrm_serving.cohorts.ranking import CohortRanker
from reasrm_serving.cohorts.result import Result, Reward, Terms, Text, unpack_text
from reasrm_serving.cohorts.store import Place, Role, State, Store, StoreUnavailable, View, key_in
from reasrm_serving.cohorts.waiting import Waiter
from reasrm_serving.judging.lease import new_token

FIRST_PAUSE_S = 0.02
RENEW_S = 1.0
AWAY_S = 5.0  # callers do not notice a shorter outage of the store


class Cohort:
    """A cohort at one gateway (see the module). `run` is the task; `begin` starts work in the background that outlives it."""

    def __init__(
        self,
        name: str,
        terms: Terms,
        place: Place,
        store: Store,
        ranker: CohortRanker,
        early: EarlyComparisons | None,
        begin: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._name, self._number, self._terms = name, place.number, terms
        self._store, self._ranker, self._early, self._begin = store, ranker, early, begin
        now = asyncio.get_running_loop().time()
        self._gather_until, self._deadline = now + place.gather_left_s, now + place.left_s
        self._waiters: set[Waiter] = set()
        self._seen: set[str] = set()
        self._texts: dict[str, bytes] = {}
        self._changed = asyncio.Event()
        self._pause_s = FIRST_PAUSE_S
        self._owner = new_token()
        self._full = False
        self.state = State.GATHERING

    @property
    def gathers(self) -> bool:
        """Whether it waits for other rollouts, and not for the judge."""
        return self.state is State.GATHERING and not self._full

    @property
    def left_s(self) -> float:
        """Seconds until its rewards are due."""
        return self._left(self._deadline)

    def join(self, place: Place, response: Text, text: bytes, deadline: float) -> Waiter:
        """Register a caller that waits at its place; `text` is its response as the store has it."""
        loop = asyncio.get_running_loop()
        waiter = Waiter(place.token, deadline, place.failures, place.returns, loop.time(), loop.create_future())
        self._waiters.add(waiter)
        self._seen.add(place.token)
        if place.role is Role.MEMBER:
            self._texts[place.token] = text
        if self._early is not None:
            self._early.add(response, here=True)
        self._full = self._full or place.count >= self._terms.size
        if not self.gathers:
            self._changed.set()
        return waiter

    def vacant(self, key: str) -> str | None:
        """The token of a place with this text at this gateway that no caller waits at now."""
        held = {waiter.token for waiter in self._waiters}
        return next((token for token in self._texts if key_in(token) == key and token not in held), None)

    def leave(self, waiter: Waiter) -> None:
        """Forget a caller that has its answer, or has gone."""
        self._waiters.discard(waiter)

    async def run(self) -> None:
        """Work until no caller waits here and the cohort is ranked or failed. An error goes to all waiting callers."""
        try:
            done = False
            while not done:
                view = await self._look()
                with contextlib.suppress(StoreUnavailable):  # the next look waits for the store
                    done = await self._step(view)
        except Exception as error:  # noqa: BLE001 - each caller raises it
            self._refuse(error)

    async def _step(self, view: View) -> bool:
        """Take the step that follows from the cohort's state. Returns whether it was the last one."""
        self.state = view.state
        came_back = any(waiter.failures == view.failures for waiter in self._waiters)
        match view.state:
            case State.RANKED:
                return await self._collect()
            case State.FAILED if not came_back:
                self._answer(lambda _: view.failure)
                return True
            case State.GATHERING if view.count < self._terms.size and self._left(self._gather_until) > 0:
                await self._meet(view.count)
                await self._pause()
            case State.RANKING if not view.claimable:
                await self._pause()
            case _:
                texts = await self._store.claim(self._name, self._number, self._owner)
                if texts is None:
                    await self._pause()
                elif view.restored and len(texts) < self._terms.size and not view.failures:
                    # The store may have lost rollouts, and rewards of a part would differ. Callers that retry get the right ones.
                    await self._store.settle(self._name, self._number, Result(failure=Reward(None, reason="deadline")))
                else:
                    return await self._rank(texts, again=view.failures > 0)
        return False

    async def _look(self) -> View:
        """The cohort's state in the store. During a longer outage of the store, the waiting callers are told to come again.

        Raises `StoreUnavailable` where the store is still away when the rewards are due, or has the places in another cohort.
        """
        away_since: float | None = None
        while True:
            try:
                held = {waiter.token for waiter in self._waiters}
                view = await self._store.look(self._name, self._number, {token: token in held for token in self._texts})
                if view is not None:
                    return view
                number = await self.restore()
            except StoreUnavailable as error:
                now = asyncio.get_running_loop().time()
                away_since = away_since or now
                if self.left_s < 0:
                    raise
                if now - away_since > AWAY_S:
                    self._refuse(error)
                await asyncio.sleep(self._store.poll_s)
            else:
                if number != self._number:
                    raise StoreUnavailable("the Redis that holds the cohorts was restarted, and has this rollout in another one")

    async def restore(self) -> int:
        """Put the places that this gateway knows back into the store, which has lost them; returns the number of their cohort."""
        place = Place(self._number, Role.MEMBER, "", 0, self._left(self._gather_until), self.left_s)
        held = {waiter.token for waiter in self._waiters if not waiter.answer.done()}
        return await self._store.restore(self._name, place, self._terms.size, self._texts, held)

    def _refuse(self, error: Exception) -> None:
        for waiter in self._waiters:
            if not waiter.answer.done():
                waiter.answer.set_exception(error)

    async def _pause(self) -> None:
        """Wait until a rollout changes something, or a little; at most until the time to gather is over."""
        left = self._left(self._gather_until)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(self._pause_s, left) if left > 0 else self._pause_s):
                await self._changed.wait()
        self._changed.clear()
        self._pause_s = min(2 * self._pause_s, self._store.poll_s)

    async def _meet(self, count: int) -> None:
        """Let comparisons begin with the responses that came to other gateways."""
        if self._early is None or count <= len(self._seen):
            return
        for token, text in (await self._store.texts(self._name, self._number, self._seen)).items():
            self._seen.add(token)
            self._early.add(unpack_text(text), here=False)

    async def _rank(self, texts: dict[str, bytes], *, again: bool) -> bool:
        self.state = State.RANKING
        deadline = max((self._deadline, *(waiter.deadline for waiter in self._waiters))) if again else self._deadline
        async with self._claim_renewed():
            last = await self._store.pivot(self._name) if len(texts) == 1 else None
            result = await self._ranker.rank(self._terms, texts, last, self._left(deadline))
        try:
            await self._store.settle(self._name, self._number, result)
        except StoreUnavailable:
            self._begin(self._settle_later(result))
            self._answer(lambda waiter: result.failure or result.rewards.get(key_in(waiter.token)))
            return True
        return False

    @contextlib.asynccontextmanager
    async def _claim_renewed(self) -> AsyncGenerator[None]:
        renewing = asyncio.create_task(self._renew())
        try:
            yield
        finally:
            renewing.cancel()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            with contextlib.suppress(StoreUnavailable):
                await self._store.renew(self._name, self._number, self._owner)

    async def _settle_later(self, result: Result) -> None:
        """Write the result as soon as the store is back, because other gateways may wait for it."""
        until = asyncio.get_running_loop().time() + self._terms.wait_s + self._terms.judge_s
        while self._left(until) > 0:
            with contextlib.suppress(StoreUnavailable):
                await self._store.settle(self._name, self._number, result)
                return
            await asyncio.sleep(self._store.poll_s)

    async def _collect(self) -> bool:
        """Answer the callers that wait here; others may join meanwhile."""
        while tokens := sorted({waiter.token for waiter in self._waiters if not waiter.answer.done()}):
            rewards = dict(zip(tokens, await self._store.collect(self._name, self._number, tokens), strict=True))
            for waiter in self._waiters:
                if waiter.token in rewards and not waiter.answer.done():
                    waiter.answer.set_result(rewards[waiter.token])
        return True

    def _answer(self, reward: Callable[[Waiter], Reward | None]) -> None:
        for waiter in self._waiters:
            if not waiter.answer.done():
                waiter.answer.set_result(reward(waiter))

    def _left(self, moment: float) -> float:
        return moment - asyncio.get_running_loop().time()
