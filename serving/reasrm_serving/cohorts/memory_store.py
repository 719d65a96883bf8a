"""The cohorts of a gateway that shares them with no other: they live in its memory."""

from __future__ import annotations

import heapq
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from cachetools import LRUCache, TTLCache

from reasrm_serving.cohorts.result import Pivot, Result, Reward
from reasrm_serving.cohorts.store import (
    KEEP_FAILED_S,
    KEEP_S,
    RECENT,
    Arrival,
    Place,
    Role,
    State,
    StoreUnavailable,
    View,
    key_in,
)

MOST_NAMES = 20_000
TEXT_BYTES = 512 * 2**20  # of cohorts that are not ranked yet
PIVOT_BYTES = 32 * 2**20  # of ranked ones


@dataclass(slots=True)
class _Stored:
    """A cohort. `leases` holds, by token, until when a caller waits at a place; answered places have none."""

    number: int
    size: int
    gather_until: float
    until: float
    state: State = State.GATHERING
    texts: dict[str, bytes] = field(default_factory=dict[str, bytes])
    leases: dict[str, float] = field(default_factory=dict[str, float])
    returns: dict[str, int] = field(default_factory=dict[str, int])
    late: set[str] = field(default_factory=set[str])
    rewards: dict[str, Reward] = field(default_factory=dict[str, Reward])
    members: int = 0
    claimed_until: float = 0.0
    restored: bool = False
    failures: int = 0
    failure: Reward | None = None

    def own_place(self, arrival: Arrival, now: float) -> str | None:
        """The place that this rollout has, or the vacant one of its text."""
        if arrival.token in self.leases:
            return arrival.token
        if arrival.member is not None:
            return None
        return next((token for token, until in self.leases.items() if until <= now and key_in(token) == arrival.key), None)

    def gathers(self, now: float) -> bool:
        """Whether a new rollout may still become a member: a failed cohort will be ranked again, with whatever has come by then."""
        if self.state is State.FAILED:
            return bool(self.texts) and self.members < self.size
        return self.state is State.GATHERING and now < self.gather_until and self.members < self.size

    def misses(self, key: str, now: float, wait_s: float) -> bool:
        """Whether it was closed a short time ago without being full: a new rollout belongs to it, but is late."""
        closed = self.state in (State.RANKING, State.RANKED) or (self.state is State.GATHERING and now >= self.gather_until)
        room = key in self.late or self.members + len(self.late) < self.size
        return closed and room and now < self.gather_until + wait_s

    def place(self, role: Role, token: str, now: float) -> Place:
        """The caller's view of its place."""
        members = self.members + len(self.late)
        left, gather_left = self.until - now, self.gather_until - now
        return Place(self.number, role, token, members, gather_left, left, self.failures, self.returns.get(token, 0))


@dataclass(slots=True)
class _Name:
    """The recent cohorts of a name, oldest first, and the texts of repeats that will count in the next one."""

    recent: deque[_Stored] = field(default_factory=lambda: deque[_Stored](maxlen=RECENT))
    repeats: dict[str, bytes] = field(default_factory=dict[str, bytes])
    repeats_until: float = 0.0


class MemoryStore:
    """See `Store`. A lease ends only with this process, so it has no end by default."""

    poll_s = 1.0

    def __init__(self, lease_s: float = math.inf, text_bytes: int = TEXT_BYTES) -> None:
        self._lease_s, self._text_bytes = lease_s, text_bytes
        self._names: TTLCache[str, _Name] = TTLCache(MOST_NAMES, KEEP_S)
        self._pivots: LRUCache[tuple[str, int], bytes] = LRUCache(PIVOT_BYTES, getsizeof=len)
        self._bytes, self._order = 0, count()
        self._fading: list[tuple[float, int, Callable[[], None]]] = []

    async def register(
        self, name: str, arrival: Arrival, size: int, wait_s: float, judge_s: float, known: int | None = None
    ) -> Place:
        """See `Store.register`."""
        if known is not None and self._find(name, known) is None:
            return Place(known, Role.LOST, arrival.token, 0, 0.0, 0.0)
        return self._register(name, arrival, size, wait_s, judge_s)

    def _register(self, name: str, arrival: Arrival, size: int, wait_s: float, judge_s: float) -> Place:
        now = time.monotonic()
        self._fade(now)
        known = self._names.get(name) or _Name()
        for stored in known.recent:
            if (token := stored.own_place(arrival, now)) is not None:
                stored.leases[token] = now + self._lease_s
                stored.returns[token] = stored.returns.get(token, 0) + 1
                return stored.place(Role.MEMBER, token, now)
        newest = known.recent[-1] if known.recent else None
        gathering = newest if newest is not None and newest.gathers(now) else None
        for stored in reversed(known.recent):
            if arrival.key in stored.rewards:
                if arrival.member is None:
                    self._repeat(known, gathering, arrival, size, now + wait_s)
                return stored.place(Role.REPEAT, arrival.token, now)
        if newest is not None and newest.misses(arrival.key, now, wait_s):
            newest.late.add(arrival.key)
            return newest.place(Role.LATE, arrival.token, now)
        if gathering is None:
            number = newest.number + 1 if newest else 1
            gathering = self._open(known, _Stored(number, size, now + wait_s, now + wait_s + judge_s))
        self._add(gathering, arrival.token, arrival.text)
        gathering.leases[arrival.token] = now + self._lease_s
        self._names[name] = known
        return gathering.place(Role.MEMBER, arrival.token, now)

    async def restore(self, name: str, place: Place, size: int, texts: Mapping[str, bytes], held: Collection[str]) -> int:
        """See `Store.restore`: what this process has forgotten was too old, or one of too many."""
        now, known = time.monotonic(), self._names.setdefault(name, _Name())
        stored = self._find(name, place.number)
        if stored is None:
            stored = _Stored(place.number, size, now + place.gather_left_s, now + place.left_s, restored=True)
            known.recent.append(stored)
        for token, text in texts.items():
            self._add(stored, token, text)
            stored.leases[token] = now + self._lease_s if token in held else 0.0
        return place.number

    async def look(self, name: str, number: int, places: Mapping[str, bool]) -> View | None:
        """See `Store.look`."""
        stored, now = self._find(name, number), time.monotonic()
        if stored is None or (stored.state is State.GATHERING and not places.keys() <= stored.texts.keys()):
            return None
        self._names[name] = self._names[name]  # kept while this gateway still looks at it
        for token, held in places.items():
            if held and token in stored.leases:
                stored.leases[token] = now + self._lease_s
        claimable = stored.state is State.RANKING and stored.claimed_until <= now
        return View(stored.state, stored.members, claimable, stored.restored, stored.failures, stored.failure)

    async def texts(self, name: str, number: int, known: Collection[str]) -> dict[str, bytes]:
        """See `Store.texts`."""
        stored = self._find(name, number)
        return {} if stored is None else {token: text for token, text in stored.texts.items() if token not in known}

    async def leave(self, name: str, number: int, token: str) -> None:
        """See `Store.leave`."""
        stored = self._find(name, number)
        if stored is not None and token in stored.leases:
            stored.leases[token] = 0.0

    async def claim(self, name: str, number: int, owner: str) -> dict[str, bytes] | None:
        """See `Store.claim`."""
        stored, now = self._find(name, number), time.monotonic()
        if stored is None or stored.state is State.RANKED or not stored.texts:
            return None
        if stored.state is State.GATHERING and stored.members < stored.size and now < stored.gather_until:
            return None
        if stored.state is State.RANKING and stored.claimed_until > now:
            return None
        stored.state, stored.claimed_until = State.RANKING, now + self._lease_s
        return dict(stored.texts)

    async def renew(self, name: str, number: int, owner: str) -> None:
        """See `Store.renew`: here the owner is this process."""
        stored = self._find(name, number)
        if stored is not None and stored.state is State.RANKING:
            stored.claimed_until = time.monotonic() + self._lease_s

    async def settle(self, name: str, number: int, result: Result) -> None:
        """See `Store.settle`."""
        stored = self._find(name, number)
        if stored is None:
            return
        if result.failure is not None:
            stored.state, stored.failure, stored.failures = State.FAILED, result.failure, stored.failures + 1
            self._later(KEEP_FAILED_S, lambda: self._forget(stored))
            return
        stored.state, stored.rewards = State.RANKED, dict(result.rewards)
        self._drop(stored.texts)
        if result.pivot is not None and len(stored_pivot := result.pivot.pack()) <= PIVOT_BYTES:
            self._pivots[name, number] = stored_pivot
            if result.pivot.value is not None:
                self._pivots[name, 0] = stored_pivot

    async def collect(self, name: str, number: int, tokens: Sequence[str]) -> list[Reward | None]:
        """See `Store.collect`."""
        stored = self._find(name, number)
        if stored is None:
            return [None] * len(tokens)
        for token in tokens:
            stored.leases.pop(token, None)
        return [stored.rewards.get(key_in(token)) for token in tokens]

    async def reward(self, name: str, number: int, key: str) -> Reward | None:
        """See `Store.reward`."""
        stored = self._find(name, number)
        return None if stored is None else stored.rewards.get(key)

    async def record(self, name: str, number: int, key: str, reward: Reward) -> None:
        """See `Store.record`."""
        stored = self._find(name, number)
        if stored is not None:
            stored.rewards.setdefault(key, reward)

    async def pivot(self, name: str, number: int | None = None) -> Pivot | None:
        """See `Store.pivot`."""
        stored = self._pivots.get((name, number or 0))
        return None if stored is None else Pivot.unpack(stored)

    async def waiting(self, run: str, gateway: str, count: int) -> int:
        """See `Store.waiting`: there is no other gateway."""
        return count

    def _find(self, name: str, number: int) -> _Stored | None:
        known = self._names.get(name)
        return next((stored for stored in known.recent if stored.number == number), None) if known else None

    def _open(self, known: _Name, stored: _Stored) -> _Stored:
        """A new cohort, in which the repeats since the last one count."""
        if len(known.recent) == RECENT:
            self._drop(known.recent[0].texts)
        known.recent.append(stored)
        stored.texts, known.repeats = known.repeats, {}
        stored.members = len(stored.texts)
        return stored

    def _repeat(self, known: _Name, gathering: _Stored | None, arrival: Arrival, size: int, until: float) -> None:
        if gathering is not None:
            self._add(gathering, arrival.token, arrival.text)
            return
        self._make_room(len(arrival.text))
        known.repeats[arrival.token] = arrival.text
        if len(known.repeats) >= size:
            self._drop(known.repeats)  # a whole cohort of repeats has all its rewards
        known.repeats_until = until
        self._later(until - time.monotonic(), lambda: self._drop(known.repeats) if known.repeats_until <= until else None)

    def _add(self, stored: _Stored, token: str, text: bytes) -> None:
        self._make_room(len(text))
        stored.texts[token] = text
        stored.members = len(stored.texts)

    def _make_room(self, size: int) -> None:
        if self._bytes + size > self._text_bytes:
            raise StoreUnavailable("the rollouts that wait for their cohorts fill the gateway's memory")
        self._bytes += size

    def _drop(self, texts: dict[str, bytes]) -> None:
        self._bytes -= sum(map(len, texts.values()))
        texts.clear()

    def _forget(self, failed: _Stored) -> None:
        """Drop a failed cohort: no rollout came back."""
        if failed.state is State.FAILED:
            self._drop(failed.texts)
            failed.leases.clear()

    def _later(self, delay_s: float, drop: Callable[[], None]) -> None:
        heapq.heappush(self._fading, (time.monotonic() + delay_s, next(self._order), drop))

    def _fade(self, now: float) -> None:
        while self._fading and self._fading[0][0] <= now:
            heapq.heappop(self._fading)[2]()
