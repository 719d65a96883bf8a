"""Equal work in flight among the gateways that share a Redis is done once: by the one that holds the claim.

A claim is a key with its owner's token and a short life, which the owner renews while it works. When the owner dies the claim
runs out, and a waiting gateway takes the work over.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Awaitable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from reasrm_serving.redis_link import RedisLink

LIFE_S = 3.0
RENEW_S = 1.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.01, 0.2

# Only the owner's token renews or gives back: a claim that ran out may be another's by now.
_RENEW = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0"
_GIVE_BACK = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


@dataclass(slots=True)
class Held:
    """A claim that is held; `done` says that its work is stored or about to be, so that it may as well run out by itself."""

    done: bool = False


class Leases:
    """Leases on cache keys; `stored(key)` is where the finished work will lie."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def wait_or_take(self, key: str, stored: str, token: str) -> bytes | None:
        """Wait until the work for `key` lies under `stored` and return it, or return None: then it is the caller's to do.

        None also where Redis is away: better done twice than not.
        """
        pause = FIRST_PAUSE_S
        while True:
            answer = await self._link.ask(lambda redis: self._look_and_try(redis, key, stored, token))
            if answer is None or answer[0] is not None:
                return answer[0] if answer else None
            if answer[1]:
                return None
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    @contextlib.asynccontextmanager
    async def held(self, key: str, token: str) -> AsyncGenerator[Held]:
        """Keep a claim that `wait_or_take` took alive, and give it back at the end unless the work lies where all look for it."""
        held = Held()
        renewing = asyncio.create_task(self._renew(key, token))
        try:
            yield held
        finally:
            renewing.cancel()
            if not held.done:
                await asyncio.shield(self._link.ask(lambda redis: _eval(redis, _GIVE_BACK, key, token)))

    async def _look_and_try(self, redis: Redis, key: str, stored: str, token: str) -> list[Any]:
        async with redis.pipeline(transaction=False) as pipe:
            pipe.get(stored)
            pipe.set(_name(key), token, nx=True, px=int(LIFE_S * 1000))
            return await pipe.execute()

    async def _renew(self, key: str, token: str) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            await self._link.ask(lambda redis: _eval(redis, _RENEW, key, token, int(LIFE_S * 1000)))


def new_token() -> str:
    """A token that nobody else has."""
    return secrets.token_hex(8)


def _name(key: str) -> str:
    return f"reasrm:{{{key}}}:claim"


def _eval(redis: Redis, script: str, key: str, *args: Any) -> Awaitable[Any]:
    return redis.eval(script, 1, _name(key), *args)
