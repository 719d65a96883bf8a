"""Group rewards for frameworks that send one rollout per request: each caller waits until its cohort is ranked.

The group is ranked once, by one gateway, and each caller gets its own reward. The rewards depend on the texts alone, not on the
order in which they came, nor on the gateway. After its time to gather, a cohort is ranked as it is; a rollout that comes later is
judged against the middle response.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

from reasrm.judging.group import key_of
from reasrm.types import TRANSIENT
from reasrm_serving.cohorts.cohort import Cohort
from reasrm_serving.cohorts.early import EarlyComparisons
from reasrm_serving.cohorts.ranking import CohortRanker
from reasrm_serving.cohorts.result import Reward, Terms, Text, pack_text
from reasrm_serving.cohorts.store import Arrival, Place, Role, SentBack, Store, StoreUnavailable
from reasrm_serving.cohorts.waiting import MOST_RETURNS, WaitingRoom
from reasrm_serving.judging.lease import new_token
from reasrm_serving.judging.ranking import Ranker

SOON_S = 1.0  # seconds: a caller at its own deadline is not sent back if its cohort's deadline is this close


class Cohorts:
    """The cohorts of a gateway, in its memory or in the Redis that gateways share (`store`).

    `identity` says who judges: gateways with other judges have other cohorts. `early`: comparisons that the ranking will need begin
    as responses arrive (see `EarlyComparisons`; it needs a cache). `count` is called with the end of each cohort, `sent_back`
    with the run of each rollout that was answered early.
    """

    def __init__(
        self,
        ranker: Ranker,
        store: Store,
        identity: Callable[[], Awaitable[str]],
        *,
        early: bool,
        count: Callable[[str], None] = lambda _: None,
        sent_back: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ranker, self._store, self._identity, self._early = ranker, store, identity, early
        self._cohort_ranker = CohortRanker(ranker, count)
        self._waiting = WaitingRoom(store, sent_back)
        self._cohorts: dict[str, dict[int, Cohort]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Cancel all work under way."""
        await self._waiting.aclose()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def reward(self, terms: Terms, response: Text, member: str | None = None) -> Reward:
        """The reward of `response` within its cohort; `member` is the caller's own name of the rollout, by which a retry is known.

        A call with the same terms and text again gets the same reward. Cancelled (the caller hung up), the rollout keeps its
        place. Raises `SentBack` where it should come again later, `StoreUnavailable` where Redis is away, `EngineError` before an
        engine ever answered.
        """
        patience_s = terms.wait_s + terms.judge_s if terms.patience_s is None else terms.patience_s
        deadline = asyncio.get_running_loop().time() + patience_s
        name, key = terms.name(await self._identity()), f"{key_of(response):016x}"
        arrival = Arrival(key, pack_text(response), f"{key}.{new_token() if member is None else member}", member)
        place = await self._register(name, terms, arrival)
        if place.role is Role.REPEAT:
            reward = await self._store.reward(name, place.number, key)
        else:
            try:
                reward = await self._wait(name, terms, place, response, arrival.text, deadline)
            except TimeoutError:
                return Reward(None, reason="deadline")
        return reward or await self._without_place(name, terms, place, response, deadline)

    async def _register(self, name: str, terms: Terms, arrival: Arrival) -> Place:
        """Register the rollout, after restoring the cohort that it belongs to where Redis has lost that."""
        cohorts = self._cohorts.get(name, {})
        known = max(cohorts, default=None)
        vacant = next((token for cohort in cohorts.values() if (token := cohort.vacant(arrival.key))), None)
        if arrival.member is None and vacant is not None:  # also if Redis has lost this place and it is not restored yet
            arrival = replace(arrival, token=vacant)
        while True:
            place = await self._store.register(name, arrival, terms.size, terms.wait_s, terms.judge_s, known)
            if place.role is not Role.LOST:
                return place
            cohort = self._cohorts.get(name, {}).get(place.number)
            known = None if cohort is None else await cohort.restore()

    async def _wait(self, name: str, terms: Terms, place: Place, response: Text, text: bytes, deadline: float) -> Reward | None:
        """Wait at the place until there is an answer. Raises `TimeoutError` at the deadline, or `SentBack` where that may be."""
        cohort = self._cohort(name, terms, place)
        waiter = cohort.join(place, response, text, deadline)
        answered = False
        try:
            with self._waiting.place(terms.run, terms.hold, waiter, lambda: cohort.gathers):
                async with asyncio.timeout_at(deadline):
                    reward = await waiter.answer
            answered = reward is None or reward.reason not in TRANSIENT
            return reward
        except TimeoutError:
            if terms.hold and place.returns < MOST_RETURNS and cohort.left_s > SOON_S:
                raise SentBack("the cohort is not ranked yet") from None
            raise
        finally:
            cohort.leave(waiter)
            if not answered:
                await asyncio.shield(self._begin(self._leave(name, place)))

    async def _leave(self, name: str, place: Place) -> None:
        with contextlib.suppress(StoreUnavailable):
            await self._store.leave(name, place.number, place.token)

    async def _without_place(self, name: str, terms: Terms, place: Place, response: Text, deadline: float) -> Reward:
        """The reward of a late rollout: judged against the pivot of the ranked ones, within this caller's remaining time."""
        pivot = await self._store.pivot(name, place.number)
        if pivot is None:
            return Reward(None, reason="alone")
        left_s = deadline - asyncio.get_running_loop().time()
        reward = await self._cohort_ranker.against(terms, pivot, response, left_s)
        if reward.value is not None:
            with contextlib.suppress(StoreUnavailable):
                await self._store.record(name, place.number, f"{key_of(response):016x}", reward)
        return reward

    def _cohort(self, name: str, terms: Terms, place: Place) -> Cohort:
        cohorts = self._cohorts.setdefault(name, {})
        known = cohorts.get(place.number)
        if known is not None:
            return known
        early = EarlyComparisons(self._ranker.judge, terms, self._begin) if self._may_start(terms) else None
        cohort = Cohort(name, terms, place, self._store, self._cohort_ranker, early, self._begin)
        cohorts[place.number] = cohort
        self._begin(self._run(name, place.number, cohort))
        return cohort

    async def _run(self, name: str, number: int, cohort: Cohort) -> None:
        try:
            await cohort.run()
        finally:
            del self._cohorts[name][number]
            if not self._cohorts[name]:
                del self._cohorts[name]

    def _may_start(self, terms: Terms) -> bool:
        """Whether comparisons may begin before the cohort is full: not if they continue the first one's deliberation."""
        return self._early and not (self._ranker.reuse if terms.options.reuse is None else terms.options.reuse)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
