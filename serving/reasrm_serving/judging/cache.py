"""The cache of judgments: the latest in this process, all of them in Redis where there is one.

A judgment's key holds everything that decides it, so nothing ever has to be invalidated: other weights are other keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable
from typing import Any, cast

from cachetools import TTLCache
from redis.asyncio import Redis

from reasrm.types import Options, Pair
from reasrm_serving.judgment_json import JudgmentJson
from reasrm_serving.redis_link import RedisLink

SCHEMA = 1  # of what is stored; another number forgets everything
OVERHEAD = 300  # bytes that an entry takes in memory beside its own
IN_FRONT_OF_REDIS_S = 300.0  # entries that came from Redis outlive their time there by this much at most


def judgment_key(pair: Pair, options: Options, decided_by: tuple[str, ...]) -> str:
    """The key of `pair` judged by `options`; `decided_by` are model, weight version, prompt digest and fence-key id."""
    hasher = hashlib.blake2b("\0".join((str(SCHEMA), *decided_by, "")).encode(), digest_size=20)
    hasher.update(options.model_dump_json().encode() + b"\n" + pair.model_dump_json().encode())
    return hasher.hexdigest()


class Cache:
    """Replies by key, compressed. `link` is the Redis behind this process's own memory; `megabytes` bounds the memory.

    `hits` counts where replies were found.
    """

    def __init__(self, link: RedisLink | None, *, ttl_s: float, megabytes: float) -> None:
        self._link = link
        self._ttl_s = ttl_s
        near_s = min(ttl_s, IN_FRONT_OF_REDIS_S) if link else ttl_s
        self._near: TTLCache[str, bytes] = TTLCache(
            maxsize=megabytes * 2**20, ttl=near_s, getsizeof=lambda packed: len(packed) + OVERHEAD
        )

    def near(self, key: str) -> JudgmentJson | None:
        """The reply that this process holds."""
        packed = self._near.get(key)
        return JudgmentJson.unpack(packed) if packed is not None else None

    async def far(self, key: str) -> JudgmentJson | None:
        """The reply that Redis holds."""
        if self._link is None:
            return None
        packed = await self._link.ask(lambda redis: cast("Awaitable[Any]", redis.get(stored_name(key))))
        return self.found(key, packed)

    def found(self, key: str, packed: bytes | None) -> JudgmentJson | None:
        """Take in what came out of Redis under `key`."""
        reply = JudgmentJson.unpack(packed) if packed else None
        if reply is not None and packed is not None:
            self._keep(key, packed)
        return reply

    async def put(self, key: str, reply: JudgmentJson) -> None:
        """Store `reply`, which must not be a passing failure."""
        packed = reply.pack()
        self._keep(key, packed)
        if self._link is not None:
            await self._link.ask(lambda redis: self._set(redis, key, packed))

    def _set(self, redis: Redis, key: str, packed: bytes) -> Awaitable[Any]:
        return cast("Awaitable[Any]", redis.set(stored_name(key), packed, px=int(self._ttl_s * 1000)))

    def _keep(self, key: str, packed: bytes) -> None:
        if len(packed) + OVERHEAD <= self._near.maxsize:
            self._near[key] = packed


def stored_name(key: str) -> str:
    """Where Redis holds the reply of `key`."""
    """Where Redis holds the reply of `key`."""
    return f"reasrm:{{{key}}}"
