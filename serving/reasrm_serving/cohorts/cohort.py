"""Group rewards for frameworks that send one rollout a request: who asks waits until the prompt's whole cohort has arrived.

The group is ranked once, by one gateway, and each caller gets its own reward. A cohort's rewards depend on its texts alone, not on
who came first or where. At its deadline it is ranked as it is; who comes later is judged against its middle response.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from reasrm.judging.group import Totals, key_of
from reasrm_serving.cohorts.early import Ahead
from reasrm_serving.cohorts.result import (
    Result,
    Reward,
    Terms,
    Text,
    failure_in,
    mean_of,
    pack_text,
    result_of,
    unpack_text,
    why_none,
)
from reasrm_serving.cohorts.store import LocalSeats, Seat, Seats, name_of, result_name
from reasrm_serving.judging.lease import Leases, new_token
from reasrm_serving.judging.ranking import Ranker
from reasrm_serving.judging.single_flight import SingleFlight

FIRST_POLL_S, LONGEST_POLL_S = 0.02, 0.25
PATIENCE_S = 5.0


@dataclass(slots=True)
class _Party:
    """Those of a cohort who sit in this process, by token. They may move to another store; all wait until they are `ranked`.

    Once they have `moved`, others of the cohort may have been ranked without them, by a gateway that saw it full before.
    """

    terms: Terms
    store: Seats
    round: int
    deadline: float
    began: float = field(default_factory=time.time)
    moved: bool = False
    texts: dict[str, bytes] = field(default_factory=dict[str, bytes])
    left: set[str] = field(default_factory=set[str])
    ahead: Ahead | None = None
    met: set[str] = field(default_factory=set[str])
    full: asyncio.Event = field(default_factory=asyncio.Event)
    ranked: asyncio.Task[Result] | None = None


class Cohorts:
    """The cohorts of a gateway. `shared` and `claims` are those of the Redis that gateways share, where there is one.

    While Redis is away a cohort gathers in this process, and moves when it is back. One that was torn so and is not full at its
    deadline gets the rewards of where it was ranked, or none: those of a part of it would be others.
    `ahead`: comparisons that are sure to be wanted start as responses arrive (see `Ahead`; it needs a cache).
    `count` is told how each cohort ended: "full", "partial" or "lone".
    """

    def __init__(
        self,
        ranker: Ranker,
        shared: Seats | None,
        claims: Leases | None,
        *,
        ahead: bool,
        count: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ranker, self._claims, self._ahead, self._count = ranker, claims, ahead, count
        self._shared, self._local = shared, LocalSeats()
        self._parties: dict[tuple[str, int], _Party] = {}
        self._settling: SingleFlight[Result] = SingleFlight()
        self._background: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Give up whatever is under way."""
        tasks: list[asyncio.Task[Any]] = [*self._background, *(each.ranked for each in self._parties.values() if each.ranked)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def reward(self, terms: Terms, response: Text) -> Reward:
        """The reward of `response` within its cohort. Cancelled (the caller hung up), its response stays in the cohort."""
        token, text = f"{key_of(response):016x}.{new_token()}", pack_text(response)
        seat, store = await self._sit(terms, token, text)
        if seat.late:
            return await self._late(terms, store, seat, response)
        party, token = self._party(terms, store, seat), seat.token
        party.left.discard(token)
        party.texts[token] = text
        party.met.add(token)
        if party.ahead is not None:
            party.ahead.met(response, here=True)
        if seat.count >= terms.size:
            party.full.set()
        try:
            result = await asyncio.shield(cast("asyncio.Task[Result]", party.ranked))
        except asyncio.CancelledError:
            party.left.add(token)
            self._in_background(party.store.leave(terms.table, party.round, token))
            raise
        return result.reward(name_of(token)) or await self._against(terms, result, response)

    async def _sit(self, terms: Terms, token: str, text: bytes) -> tuple[Seat, Seats]:
        if self._shared is not None:
            seat = await self._shared.join(terms.table, token, text, terms.size, terms.wait_s)
            if seat is not None:
                return seat, self._shared
        return await self._local.join(terms.table, token, text, terms.size, terms.wait_s), self._local

    def _party(self, terms: Terms, store: Seats, seat: Seat) -> _Party:
        place = (terms.table, seat.round)
        party = self._parties.get(place)
        if party is None:
            deadline = asyncio.get_running_loop().time() + seat.left_s
            ahead = Ahead(self._ranker.judge, terms, self._in_background) if self._may_start(terms) else None
            party = self._parties[place] = _Party(terms, store, seat.round, deadline, ahead=ahead)
            party.ranked = asyncio.create_task(self._serve(party))
            party.ranked.add_done_callback(lambda done: self._parties.pop(place, None) and done.cancelled())
        return party

    async def _serve(self, party: _Party) -> Result:
        """Wait for the others, then rank, once in this process; in a cluster one gateway ranks and the others wait for that."""
        tokens = await self._members(party)
        if len(tokens) < party.terms.size and self._is_torn(party) and not await party.store.result(party.terms.table, party.round):
            return await self._elsewhere(party) or Result({name_of(token): Reward(None, reason="deadline") for token in tokens})
        key = f"{party.terms.table}:{party.round}"
        if self._claims is None or party.store is self._local:
            return await self._settling.join(key, lambda: self._settle(party, tokens))
        token = new_token()
        packed = await self._claims.wait_or_take(key, result_name(party.terms.table, party.round), token)
        if packed is not None:
            return Result.unpack(packed)
        async with self._claims.held(key, token):
            return await self._settling.join(key, lambda: self._settle(party, tokens))

    async def _members(self, party: _Party) -> dict[str, bytes]:
        """Everybody's texts by token, once the cohort is full or its deadline has passed.

        From here on the store is not needed: should it be restarted, each gateway ranks the same texts to the same rewards.
        A store that was restarted just before knows too few of them: then those who sit here sit down again and wait on.
        """
        while True:
            await self._gather(party)
            if party.moved and await self._elsewhere(party):
                return party.texts
            tokens = await self._closed(party) | party.texts
            left = party.deadline - asyncio.get_running_loop().time()
            if len(tokens) >= party.terms.size or left <= 0 or self._shared is None:
                return tokens
            if await party.store.result(party.terms.table, party.round) is not None:
                return tokens
            party.full.clear()
            await self._move(party, self._shared, left)

    async def _gather(self, party: _Party) -> None:
        """Return when the cohort is full or its deadline has passed."""
        pause = FIRST_POLL_S
        while (left := party.deadline - asyncio.get_running_loop().time()) > 0 and not party.full.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, pause) if self._shared else left):
                    await party.full.wait()
            pause = min(2 * pause, LONGEST_POLL_S)
            count = await self._seated(party, max(0.001, left))
            if party.ahead is not None and count > len(party.met):
                await self._meet(party, party.ahead)
            if count >= party.terms.size or (party.moved and await self._elsewhere(party)):
                return

    def _is_torn(self, party: _Party) -> bool:
        """Whether the store that all gateways share was away, so that others of the cohort may sit where nobody here can see."""
        return party.moved or (self._shared is not None and party.store is self._local)

    async def _elsewhere(self, party: _Party) -> Result | None:
        """What became of the cohort where it was ranked, with those who sit here, before they moved."""
        packed = await self._shared.result(party.terms.table, 0) if self._shared is not None else None
        if packed is None:
            return None
        result, names = Result.unpack(packed), {name_of(token) for token in party.texts}
        return result if result.at > party.began and names <= result.rewards.keys() else None

    async def _meet(self, party: _Party, ahead: Ahead) -> None:
        """See who has come to other gateways."""
        texts = await party.store.peek(party.terms.table, party.round, party.met)
        for token, text in texts.items():
            party.met.add(token)
            ahead.met(unpack_text(text), here=False)

    async def _seated(self, party: _Party, left_s: float) -> int:
        """How many sit at the table, after a move where the store was restarted, went away or came back."""
        table, size = party.terms.table, party.terms.size
        if self._shared is not None and party.store is self._shared:
            count = await self._shared.count(table, party.round)
            if count == -1:
                over = await self._shared.result(table, party.round) is not None  # the next round has begun
                count = size if over else await self._move(party, self._shared, left_s)
            return await self._move(party, self._local, left_s) or 0 if count is None else count
        if self._shared is not None and (count := await self._move(party, self._shared, left_s)) is not None:
            self._local.forget(table)
            return count
        return await self._local.count(table, party.round)

    async def _move(self, party: _Party, store: Seats, left_s: float) -> int | None:
        """Sit down in `store`, those who have left too; None where it is away."""
        table, seat = party.terms.table, None
        for token, text in tuple(party.texts.items()):
            seat = await store.join(table, token, text, party.terms.size, left_s)
            if seat is None:
                return None
            if token in party.left:
                await store.leave(table, seat.round, token)
            party.store, party.round, party.moved = store, seat.round, True
        return seat.count if seat else 0

    async def _settle(self, party: _Party, tokens: dict[str, bytes]) -> Result:
        terms, store = party.terms, party.store
        texts = {name_of(token): text for token, text in tokens.items()}
        names = sorted(texts)
        alone = len(tokens) == 1 and terms.reference is None
        self._count("lone" if alone else "full" if len(tokens) >= terms.size else "partial")
        if alone:
            result = await self._lone(terms, names[0], unpack_text(texts[names[0]]))
        else:
            responses = tuple(unpack_text(texts[name]) for name in names)
            ranking = await self._ranker.rank(terms.group(responses), terms.options, terms.judge_s)
            result = result_of(names, responses, ranking)
        rounds = (party.round,) if alone or result.pivot is None else (party.round, 0)
        if not await self._tell(store, terms.table, rounds, result):
            self._in_background(self._tell_later(store, terms, rounds, result))
        return result

    async def _tell(self, store: Seats, table: str, rounds: Sequence[int], result: Result) -> bool:
        """Leave the result: for the round, and as that of the table's last one (0), for who comes alone later or was torn off."""
        return all([await store.settle(table, round_, result.pack()) for round_ in rounds])

    async def _tell_later(self, store: Seats, terms: Terms, rounds: Sequence[int], result: Result) -> None:
        """Leave the result as soon as the store is back: the others may be waiting for it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(terms.wait_s):
                while not await self._tell(store, terms.table, rounds, result):  # noqa: ASYNC110 - Redis tells nobody
                    await asyncio.sleep(LONGEST_POLL_S)

    async def _closed(self, party: _Party) -> dict[str, bytes]:
        """Who sits at the table, now that it is closed; a store that is away is waited for a little, or the group would be torn."""
        until = asyncio.get_running_loop().time() + PATIENCE_S
        while (texts := await party.store.close(party.terms.table, party.round)) is None:
            if asyncio.get_running_loop().time() > until:
                return {}
            await asyncio.sleep(LONGEST_POLL_S)
        return texts

    async def _lone(self, terms: Terms, name: str, response: Text) -> Result:
        last = await self._shared.result(terms.table, 0) if self._shared else await self._local.result(terms.table, 0)
        if last is None:  # whoever comes late at least meets this one
            return Result({name: Reward(None, reason="alone")}, response)
        before = Result.unpack(last)
        reward = await self._against(terms, before, response)
        return Result({name: reward}, before.pivot, before.pivot_reward, reward.totals)

    async def _late(self, terms: Terms, store: Seats, seat: Seat, response: Text) -> Reward:
        """Judge a latecomer against the pivot of the cohort that it missed, once that is ranked."""
        until = asyncio.get_running_loop().time() + max(0.0, seat.left_s) + terms.judge_s
        pause = FIRST_POLL_S
        while asyncio.get_running_loop().time() < until:
            packed = await store.result(terms.table, seat.round)
            if packed is not None:
                result = Result.unpack(packed)
                return result.reward(f"{key_of(response):016x}") or await self._against(terms, result, response)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_POLL_S)
        return Reward(None, reason="deadline")

    async def _against(self, terms: Terms, result: Result, response: Text) -> Reward:
        """The reward of `response` by its difference from the pivot, read both ways round."""
        if result.pivot is None:
            return Reward(None, reason="alone")
        raw = terms.options.model_copy(update={"method": "pivot", "orders": "both", "scale": "raw"})
        ranking = await self._ranker.rank(terms.group((response,), result.pivot), raw, terms.judge_s)
        gap, stderr, mean, totals = ranking.rewards[0], ranking.standings[0].stderr, mean_of(result), Totals.of(ranking)
        if gap is None or failure_in(ranking):
            return Reward(None, reason=failure_in(ranking) or why_none(ranking, 0), mean=mean, totals=totals)
        if terms.options.scale == "raw":
            return Reward(result.pivot_reward + gap, stderr, mean=mean, totals=totals)
        value = math.tanh(math.atanh(result.pivot_reward) + gap / 2.0)
        return Reward(value, (stderr or 0.0) * (1.0 - value * value) / 2.0, mean=mean, totals=totals)

    def _may_start(self, terms: Terms) -> bool:
        """Whether comparisons may begin before the cohort is full: not where they continue the first one's deliberation."""
        return self._ahead and not (self._ranker.reuse if terms.options.reuse is None else terms.options.reuse)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
