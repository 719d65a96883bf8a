"""Equal work in flight among the gateways that share a Redis is done once: by the one that holds the lease on it.

A lease is a key in Redis with its holder's token and a short life, which the holder renews while it works. When the holder dies the
lease runs out, and a gateway that waits takes the work over. Renewing and giving back are redis-py's own `Lock`. Taking is not: a
`Lock` cannot look for the finished result and take the lease in one step, so it would take a lease on finished work, and it waits
for the lock while we wait for the result. And a lease on work that is stored is left to run out by itself, since all later
requests get the stored result: that saves a round trip per judgment.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from redis.exceptions import LockError

from reasrm_serving.redis_link import RedisLink

LIFE_S = 3.0
RENEW_S = 1.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.01, 0.2
_TAKE = (files("reasrm_serving.judging") / "take_lease.lua").read_text(encoding="utf-8")


@dataclass(slots=True)
class Lease:
    """A lease that is held; `done` says that its work is stored or about to be, so that it can run out by itself."""

    done: bool = False


class Leases:
    """Leases on pieces of work, named by the work's key. `on_wait` is called for work that another gateway is doing."""

    def __init__(self, link: RedisLink, on_wait: Callable[[], None] = lambda: None) -> None:
        self._link, self._on_wait = link, on_wait
        self._take = link.redis.register_script(_TAKE)

    async def wait_or_take(self, key: str, stored: str, token: str) -> bytes | None:
        """Wait until the result for `key` is at `stored` and return it, or return None: then the work is the caller's to do.

        It also returns None while Redis is away: doing the work twice is better than not doing it.
        """
        pause = FIRST_PAUSE_S
        while True:
            answer = await self._link.ask(lambda _: self._try(key, stored, token))
            if isinstance(answer, bytes):
                return answer
            if answer != 0:  # taken, or Redis is away
                return None
            if pause == FIRST_PAUSE_S:
                self._on_wait()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    @contextlib.asynccontextmanager
    async def held(self, key: str, token: str) -> AsyncGenerator[Lease]:
        """Keep a lease of `wait_or_take` alive, and give it back at the end unless the result is stored."""
        lease, renewing = Lease(), list[asyncio.Task[None]]()
        loop = asyncio.get_running_loop()
        # Most work ends before the first renewal, so renewing starts with a timer and not with a task.
        timer = loop.call_later(RENEW_S, lambda: renewing.append(loop.create_task(self._renew(key, token))))
        try:
            yield lease
        finally:
            timer.cancel()
            for task in renewing:
                task.cancel()
            if not lease.done:
                await asyncio.shield(self._link.ask(lambda redis: _release(redis, key, token)))

    def _try(self, key: str, stored: str, token: str) -> Awaitable[Any]:
        return cast("Awaitable[Any]", self._take(keys=[stored, _name(key)], args=[token, int(LIFE_S * 1000)]))

    async def _renew(self, key: str, token: str) -> None:
        while True:
            await self._link.ask(lambda redis: _extend(redis, key, token))
            await asyncio.sleep(RENEW_S)


def new_token() -> str:
    """A token that nobody else has."""
    return secrets.token_hex(8)


def _name(key: str) -> str:
    return f"reasrm:{{{key}}}:claim"


def _lock(redis: Redis, key: str, token: str) -> Lock:
    """The lock that `wait_or_take` took."""
    lock = Lock(redis, _name(key), timeout=LIFE_S, thread_local=False)
    lock.local.token = token.encode()
    return lock


async def _extend(redis: Redis, key: str, token: str) -> None:
    with contextlib.suppress(LockError):  # it ran out, and another gateway may hold it now
        await _lock(redis, key, token).extend(LIFE_S, replace_ttl=True)


async def _release(redis: Redis, key: str, token: str) -> None:
    with contextlib.suppress(LockError):
        await _lock(redis, key, token).release()
