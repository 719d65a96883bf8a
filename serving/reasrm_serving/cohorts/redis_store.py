"""The cohorts that gateways share through a Redis. Each step is one script (lua/), so gateways never see half of one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from redis.asyncio import Redis

from reasrm_serving.cohorts.result import Pivot, Result, Reward
from reasrm_serving.cohorts.store import (
    KEEP_FAILED_S,
    KEEP_S,
    LEASE_S,
    RECENT,
    Arrival,
    Place,
    Role,
    State,
    StoreUnavailable,
    View,
)
from reasrm_serving.redis_link import RedisLink

T = TypeVar("T")
SCRIPTS = Path(__file__).with_name("lua")
PATIENCE_S = 5.0  # seconds to wait for a Redis that is away before the rollout is sent back
PROBE_S = 0.1
WAITING_S = 3.0


class RedisStore:
    """See `Store`. While Redis is away, `register` waits a little for it; every other method raises `StoreUnavailable` at once."""

    poll_s = 0.25

    def __init__(self, link: RedisLink, lease_s: float = LEASE_S, patience_s: float = PATIENCE_S) -> None:
        self._link, self._lease_ms, self._patience_s = link, int(lease_s * 1000), patience_s
        common = (SCRIPTS / "common.lua").read_text()
        names = ("register", "restore", "look", "leave", "claim", "renew", "settle", "collect", "waiting")
        self._scripts = {name: link.redis.register_script(common + (SCRIPTS / f"{name}.lua").read_text()) for name in names}

    async def register(
        self, name: str, arrival: Arrival, size: int, wait_s: float, judge_s: float, known: int | None = None
    ) -> Place:
        """See `Store.register`. Trying again is safe: the token makes it one place."""
        times = (wait_s, judge_s, self._lease_ms / 1000)
        named, texts = int(arrival.member is not None), (arrival.token, arrival.key, arrival.text)
        kept = (RECENT, int(KEEP_FAILED_S * 1000), int(KEEP_S * 1000))
        args = (*texts, named, size, *(int(seconds * 1000) for seconds in times), *kept, known or "")
        until = asyncio.get_running_loop().time() + self._patience_s
        while True:
            try:
                answer = await self._run("register", name, *args)
                break
            except StoreUnavailable:
                if asyncio.get_running_loop().time() > until:
                    raise
                await asyncio.sleep(PROBE_S)
        number, role, token, count, gather_ms, ms, failures, returns = answer
        place = (int(number), Role(role.decode()), token.decode(), count, gather_ms / 1000, ms / 1000, failures, returns)
        return Place(*place)

    async def restore(self, name: str, place: Place, size: int, texts: Mapping[str, bytes], held: Collection[str]) -> int:
        """See `Store.restore`."""
        times = (int(seconds * 1000) for seconds in (place.gather_left_s, place.left_s, KEEP_FAILED_S))
        places = [part for token, text in texts.items() for part in (token, text, int(token in held))]
        return int(await self._run("restore", name, place.number, size, *times, self._lease_ms, *places))

    async def look(self, name: str, number: int, places: Mapping[str, bool]) -> View | None:
        """See `Store.look`."""
        flat = [part for token, held in places.items() for part in (token, int(held))]
        stored = await self._run("look", name, number, self._lease_ms, *flat)
        if not stored:
            return None
        state, count, claimable, restored, failures, failure = stored
        reward = Reward.unpack(failure) if failure else None
        return View(State(state.decode()), count, bool(claimable), bool(restored), failures, reward)

    async def texts(self, name: str, number: int, known: Collection[str]) -> dict[str, bytes]:
        """See `Store.texts`."""
        key = f"{_key(name)}:{number}:texts"
        tokens = await self._ask(lambda redis: cast("Awaitable[list[bytes]]", redis.hkeys(key)))
        new = [token for token in tokens if token.decode() not in known]
        if not new:
            return {}
        texts = await self._ask(lambda redis: cast("Awaitable[list[bytes | None]]", redis.hmget(key, new)))
        return {token.decode(): text for token, text in zip(new, texts, strict=True) if text is not None}

    async def leave(self, name: str, number: int, token: str) -> None:
        """See `Store.leave`."""
        await self._run("leave", name, number, token)

    async def claim(self, name: str, number: int, owner: str) -> dict[str, bytes] | None:
        """See `Store.claim`."""
        flat = await self._run("claim", name, number, owner, self._lease_ms, int(KEEP_S * 1000))
        return {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)} or None

    async def renew(self, name: str, number: int, owner: str) -> None:
        """See `Store.renew`."""
        await self._run("renew", name, number, owner, self._lease_ms)

    async def settle(self, name: str, number: int, result: Result) -> None:
        """See `Store.settle`."""
        failure = b"" if result.failure is None else result.failure.pack()
        pivot = b"" if result.pivot is None or failure else result.pivot.pack()
        rewards = [] if failure else [part for key, reward in result.rewards.items() for part in (key, reward.pack())]
        keep_ms = int((KEEP_FAILED_S if failure else KEEP_S) * 1000)
        last = int(result.pivot is not None and result.pivot.value is not None)
        await self._run("settle", name, number, keep_ms, failure, pivot, last, *rewards)

    async def collect(self, name: str, number: int, tokens: Sequence[str]) -> list[Reward | None]:
        """See `Store.collect`."""
        rewards = await self._run("collect", name, number, *tokens)
        return [Reward.unpack(reward) if reward else None for reward in rewards]

    async def reward(self, name: str, number: int, key: str) -> Reward | None:
        """See `Store.reward`."""
        hash_ = f"{_key(name)}:{number}:rewards"
        [stored] = await self._ask(lambda redis: cast("Awaitable[list[bytes | None]]", redis.hmget(hash_, [key])))
        return None if stored is None else Reward.unpack(stored)

    async def record(self, name: str, number: int, key: str, reward: Reward) -> None:
        """See `Store.record`."""
        hash_ = f"{_key(name)}:{number}:rewards"
        await self._ask(lambda redis: redis.hsetnx(hash_, key, cast("Any", reward.pack())))
        await self._ask(lambda redis: redis.expire(hash_, int(KEEP_S)))

    async def pivot(self, name: str, number: int | None = None) -> Pivot | None:
        """See `Store.pivot`."""
        key = f"{_key(name)}:pivot" if number is None else f"{_key(name)}:{number}:pivot"
        [stored] = await self._ask(lambda redis: cast("Awaitable[list[bytes | None]]", redis.mget([key])))
        return None if stored is None else Pivot.unpack(stored)

    async def waiting(self, run: str, gateway: str, count: int) -> int:
        """See `Store.waiting`."""
        return await self._call("waiting", f"reasrm:waiting:{run}", gateway, count, int(WAITING_S * 1000))

    async def _run(self, script: str, name: str, *args: Any) -> Any:
        return await self._call(script, _key(name), *args)

    async def _call(self, script: str, key: str, *args: Any) -> Any:
        return await self._ask(lambda redis: self._scripts[script](keys=[key], args=args, client=redis))

    async def _ask(self, command: Callable[[Redis], Awaitable[T]]) -> T:
        answer = await self._link.ask(command)
        if answer is None:
            raise StoreUnavailable("the Redis that holds the cohorts is away")
        return answer


def _key(name: str) -> str:
    return f"reasrm:cohort:{{{name}}}"
