"""What gateways take from a Redis that they share: a result that is there needs no lease, and no value may fill the memory."""

from __future__ import annotations

import tracemalloc

import zstandard
from reasrm_serving.judging.cache import Cache, stored_name
from reasrm_serving.judging.lease import Leases, new_token
from reasrm_serving.judgment_json import JudgmentJson
from reasrm_serving.redis_link import RedisLink

from reasrm.types import Judgment, Verdict
from tests.components import Redis

MIB = 2**20
KEY = "0123456789abcdef"


def judgment() -> JudgmentJson:
    """A judgment as a cache holds it."""
    return JudgmentJson.of(Judgment(outcome=Verdict(winner="A", probability_a=0.9, source="logprobs"), opinions=()))


def blown_up(size: int, *, stated: bool) -> bytes:
    """A zstd frame of a few KiB that unpacks into `size` bytes, and that states its size or not."""
    compressor = zstandard.ZstdCompressor(level=3).compressobj(size=size if stated else -1)
    pieces = [compressor.compress(bytes(MIB)) for _ in range(size // MIB)]
    return b"".join([*pieces, compressor.flush()])


async def test_no_lease_is_taken_where_the_result_is_there(redis_server: Redis) -> None:
    async with RedisLink(redis_server.url) as link:
        leases, token = Leases(link), new_token()
        packed = judgment().pack()
        await link.redis.set(stored_name(KEY), packed)
        assert await leases.wait_or_take(KEY, stored_name(KEY), token) == packed
        assert [key async for key in link.redis.scan_iter()] == [stored_name(KEY).encode()]
        await link.redis.delete(stored_name(KEY))
        assert await leases.wait_or_take(KEY, stored_name(KEY), token) is None
        assert [key async for key in link.redis.scan_iter()] == [stored_name(KEY).encode() + b":claim"]


async def test_a_small_value_that_unpacks_into_200_mib_is_refused(redis_server: Redis) -> None:
    async with RedisLink(redis_server.url) as link:
        cache = Cache(link, ttl_s=60.0, megabytes=8.0)
        for stated in (True, False):
            bomb = blown_up(200 * MIB, stated=stated)
            assert len(bomb) < 64 * 1024
            await link.redis.set(stored_name(KEY), bomb)
            tracemalloc.start()
            try:
                assert await cache.in_redis(KEY) is None
                assert tracemalloc.get_traced_memory()[1] < 8 * MIB
            finally:
                tracemalloc.stop()
        assert cache.in_memory(KEY) is None
        await link.redis.set(stored_name(KEY), judgment().pack())
        assert await cache.in_redis(KEY) == judgment()
