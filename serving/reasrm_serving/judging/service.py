"""The judge that every route asks: from the cache, from equal work in flight, or fresh."""

from __future__ import annotations

import asyncio
import hashlib
import time
from functools import partial

from reasrm.errors import EngineError, InputError, ReasrmError
from reasrm.failures import failed_judgment
from reasrm.types import Judgment, Options, Pair
from reasrm_serving.engines.pool import EnginePool
from reasrm_serving.judging.cache import Cache, judgment_key, stored_name
from reasrm_serving.judging.engine_judge import Emit, Fresh, PoolJudge
from reasrm_serving.judging.fair_queue import FairQueue
from reasrm_serving.judging.lease import Leases, new_token
from reasrm_serving.judging.single_flight import SingleFlight
from reasrm_serving.judgment_json import JudgmentJson
from reasrm_serving.observe.history import History
from reasrm_serving.observe.metrics import Metrics


class JudgingService:
    """A `PairJudge` whose judgments are made once: across callers, processes and time.

    Routes that need bytes use `key`, `cached` and `reply`; whoever needs judgments (a ranking) uses `judge`.
    """

    def __init__(
        self,
        fresh: PoolJudge,
        served: EnginePool,
        cache: Cache,
        claims: Leases | None,
        slots: FairQueue,
        metrics: Metrics,
        recent: History,
    ) -> None:
        self._fresh, self._served, self._cache, self._claims = fresh, served, cache, claims
        self._slots, self._metrics, self._recent = slots, metrics, recent
        self._flights: SingleFlight[JudgmentJson] = SingleFlight(metrics.coalesced.labels("process").inc)
        self._near, self._far, self._miss = (metrics.cache.labels(where) for where in ("memory", "redis", "miss"))
        secret_id = hashlib.blake2b(fresh.key, digest_size=8).hexdigest() if fresh.pack.fenced else ""
        self._decided_by = (fresh.pack.digest, secret_id)
        self._storing: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Wait until what was judged is stored."""
        await asyncio.gather(*self._storing)

    async def judge(self, pair: Pair, options: Options) -> Judgment:
        """Judge `pair`; waits for its turn. Raises `InputError`, the caller's mistake, and nothing for a judgment that failed."""
        try:
            return await self._give(pair, options)
        except (ReasrmError, TimeoutError) as error:
            return failed_judgment(error)

    async def _give(self, pair: Pair, options: Options) -> Judgment:
        started = time.perf_counter()
        key = await self.key(pair, options)
        reply = found = await self.cached(key)
        if reply is None:
            async with self._slots.in_turn():
                reply = await self.reply(key, pair, options)
        self._recent.note(key, pair, options, reply, time.perf_counter() - started, cached=found is not None)
        return reply.read()

    def gave(self, key: str, pair: Pair, options: Options, reply: JudgmentJson, seconds: float, *, cached: bool) -> None:
        """Count a judgment given to a caller after `seconds`, and note it for people to look at."""
        self._metrics.gave(reply, seconds, cached=cached)
        self._recent.note(key, pair, options, reply, seconds, cached=cached)

    async def key(self, pair: Pair, options: Options) -> str:
        """The cache key of `pair` judged by `options` with the weights that are served now. Raises `EngineError`."""
        info = await self._served.now()
        return self._key(pair, options, info.model, info.weight_version)

    async def identity(self) -> str:
        """Who judges: the model and its weights, the prompts, and the fence. Raises `EngineError`."""
        info = await self._served.now()
        return "\0".join((info.model, info.weight_version, *self._decided_by))

    async def cached(self, key: str) -> JudgmentJson | None:
        """The stored reply, from this process or from Redis."""
        found, where = self._cache.near(key), self._near
        if found is None:
            found, where = await self._cache.far(key), self._far
        (where if found else self._miss).inc()
        return found

    async def reply(self, key: str, pair: Pair, options: Options, emit: Emit | None = None) -> JudgmentJson:
        """A new judgment, or that of equal work in flight. Cancelling it stops the engine unless others wait for the same."""
        return await self._flights.join(key, partial(self._fly, key, pair, options, emit))

    async def _fly(self, key: str, pair: Pair, options: Options, emit: Emit | None) -> JudgmentJson:
        if self._claims is None:
            return (await self._make(pair, options, emit))[0]
        token = new_token()
        packed = await self._claims.wait_or_take(key, stored_name(key), token)
        if (found := self._cache.found(key, packed)) is not None:
            self._metrics.coalesced.labels("cluster").inc()
            return found
        async with self._claims.held(key, token) as held:
            reply, kept_as = await self._make(pair, options, emit)
            held.done = kept_as == key
            return reply

    async def _make(self, pair: Pair, options: Options, emit: Emit | None) -> tuple[JudgmentJson, str | None]:
        """A new judgment, and the key that it is stored under, if it is: here before anybody reads it, in Redis soon after."""
        fresh = await self._fresh.judge(pair, options, emit)
        self._metrics.made(fresh.judgment)
        key = await self._key_now(fresh, pair, options) if fresh.keeps else None
        if key is not None:
            storing = asyncio.create_task(self._cache.put(key, JudgmentJson.of(fresh.judgment.model_copy(update={"cached": True}))))
            self._storing.add(storing)
            storing.add_done_callback(self._storing.discard)
        return JudgmentJson.of(fresh.judgment), key

    async def _key_now(self, fresh: Fresh, pair: Pair, options: Options) -> str | None:
        """The key to store under: that of the weights that judged, which may have moved since the request came."""
        try:
            if fresh.weight_version not in self._served.versions:
                await self._served.refresh()
            info = await self._served.now()
        except (EngineError, InputError):
            return None
        same = fresh.weight_version == info.weight_version
        return self._key(pair, options, info.model, info.weight_version) if same else None

    def _key(self, pair: Pair, options: Options, model: str, version: str) -> str:
        return judgment_key(pair, options, (model, version, *self._decided_by))
