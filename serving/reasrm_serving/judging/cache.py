"""The cache of judgments: the latest in this process, all of them in Redis where there is one.

A judgment's key holds everything that decides it, so nothing ever has to be invalidated: other weights are other keys.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable
from typing import Any, cast

from cachetools import TTLCache
from redis.asyncio import Redis

from reasrm.types import Options, Pair
from reasrm_serving.judgment_json import JudgmentJson
from reasrm_serving.redis_link import RedisLink

SCHEMA = 2  # the version of the stored format; another number invalidates all entries
OVERHEAD = 300  # bytes of overhead per entry in memory
IN_FRONT_OF_REDIS_S = 300.0  # seconds by which entries from Redis may outlive their time there


def judgment_key(pair: Pair, options: Options, decided_by: tuple[str, ...]) -> str:
    """The key of `pair` judged by `options`; `decided_by` are model, weight version, prompt digest and fence-key id."""
    hasher = hashlib.blake2b("\0".join((str(SCHEMA), *decided_by, "")).encode(), digest_size=20)
    hasher.update(options.model_dump_json().encode() + b"\n" + pair.model_dump_json().encode())
    return hasher.hexdigest()


def stored_name(key: str) -> str:
    """The Redis key for the judgment of `key`."""
    return f"reasrm:{{{key}}}"


class Cache:
    """Judgments by key, compressed. `link` is the Redis behind this process's own memory; `megabytes` bounds the memory."""

    def __init__(self, link: RedisLink | None, *, ttl_s: float, megabytes: float) -> None:
        self._link = link
        self._ttl_s = ttl_s
        memory_s = min(ttl_s, IN_FRONT_OF_REDIS_S) if link else ttl_s
        self._unsaved: dict[str, bytes] = {}
        self._saving: asyncio.Task[None] | None = None
        self._memory: TTLCache[str, bytes] = TTLCache(
            maxsize=megabytes * 2**20, ttl=memory_s, getsizeof=lambda packed: len(packed) + OVERHEAD
        )

    def in_memory(self, key: str) -> JudgmentJson | None:
        """The judgment that this process holds."""
        packed = self._memory.get(key)
        return JudgmentJson.unpack(packed) if packed is not None else None

    async def in_redis(self, key: str) -> JudgmentJson | None:
        """The judgment that Redis holds."""
        if self._link is None:
            return None
        packed = await self._link.ask(lambda redis: cast("Awaitable[Any]", redis.get(stored_name(key))))
        return self.take_in(key, packed)

    def take_in(self, key: str, packed: bytes | None) -> JudgmentJson | None:
        """Read `packed`, which Redis held under `key`, and keep it in this process too."""
        judgment = JudgmentJson.unpack(packed) if packed else None
        if judgment is not None and packed is not None:
            self._hold(key, packed)
        return judgment

    def put(self, key: str, judgment: JudgmentJson) -> None:
        """Keep a new judgment, which must not be a failure: in this process at once, in Redis soon after."""
        packed = judgment.pack()
        self._hold(key, packed)
        if self._link is not None:
            self._unsaved[key] = packed
            if self._saving is None or self._saving.done():
                self._saving = asyncio.create_task(self._save(self._link))

    async def aclose(self) -> None:
        """Wait until all judgments are written to Redis."""
        if self._saving is not None:
            await self._saving

    async def _save(self, link: RedisLink) -> None:
        """Write the queued judgments in one go, then those that came meanwhile: a round trip per judgment would double the cost."""
        milliseconds = int(self._ttl_s * 1000)
        while self._unsaved:
            batch, self._unsaved = self._unsaved, {}
            await link.ask(lambda redis, batch=batch: _set_all(redis, batch, milliseconds))

    def _hold(self, key: str, packed: bytes) -> None:
        if len(packed) + OVERHEAD <= self._memory.maxsize:
            self._memory[key] = packed


async def _set_all(redis: Redis, batch: dict[str, bytes], milliseconds: int) -> None:
    async with redis.pipeline(transaction=False) as pipe:
        for key, packed in batch.items():
            pipe.set(stored_name(key), packed, px=milliseconds)
        await pipe.execute()
