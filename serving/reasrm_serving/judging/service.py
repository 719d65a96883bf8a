"""The judge that every route asks: from the cache, from equal work in flight, or made now in its turn."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

from reasrm.engine import EngineInfo
from reasrm.errors import EngineError, InputError, ReasrmError
from reasrm.failures import failed_judgment
from reasrm.types import Judgment, Options, Pair
from reasrm_serving.engines.pool import EnginePool
from reasrm_serving.judging.cache import Cache, judgment_key, stored_name
from reasrm_serving.judging.engine_judge import Emit, PoolJudge
from reasrm_serving.judging.fair_queue import FairQueue
from reasrm_serving.judging.lease import Leases, new_token
from reasrm_serving.judging.single_flight import SingleFlight
from reasrm_serving.judgment_json import JudgmentJson
from reasrm_serving.observe.history import History
from reasrm_serving.observe.metrics import Metrics


@dataclass(frozen=True, slots=True)
class PairRequest:
    """A request for a judgment: a pair, its options, its key in the cache, and the served model, which is part of the key."""

    pair: Pair
    options: Options
    key: str
    info: EngineInfo


@dataclass(frozen=True, slots=True)
class GivenJudgment:
    """A judgment for a caller, and whether it was `cached`."""

    json: JudgmentJson
    cached: bool


class JudgingService:
    """A `PairJudge` whose judgments are made once: across callers, processes and time.

    Routes need bytes and use `request` and `give`; rankings need judgments and use `judge`.
    """

    def __init__(
        self,
        judge: PoolJudge,
        engines: EnginePool,
        cache: Cache,
        leases: Leases | None,
        queue: FairQueue,
        metrics: Metrics,
        history: History,
    ) -> None:
        self._judge, self._engines, self._cache, self._leases = judge, engines, cache, leases
        self._queue, self._metrics, self._history = queue, metrics, history
        self._flights: SingleFlight[GivenJudgment] = SingleFlight(metrics.coalesced.labels("process").inc)
        self._in_memory, self._in_redis, self._miss = (metrics.cache.labels(where) for where in ("memory", "redis", "miss"))

    async def judge(self, pair: Pair, options: Options) -> Judgment:
        """Judge `pair`; waits for its turn. Raises `InputError` for the caller's mistake, and nothing for a failed judgment."""
        try:
            given = await self.give(self.request(pair, options, await self._engines.now()))
        except (ReasrmError, TimeoutError) as error:
            return failed_judgment(error)
        return given.json.read(cached=given.cached)

    def request(self, pair: Pair, options: Options, info: EngineInfo) -> PairRequest:
        """The request for `pair` judged by `options` with the weights of `info`."""
        return PairRequest(pair, options, self._key(pair, options, info), info)

    async def identity(self) -> str:
        """The identity of the judge: the model and its weights, the prompts, and the fence. Raises `EngineError`."""
        info = await self._engines.now()
        return "\0".join((info.model, info.weight_version, *self._judge.prompts.identity(info.model)))

    async def stored(self, key: str) -> JudgmentJson | None:
        """The judgment that this process or Redis holds."""
        stored = self._cache.in_memory(key)
        if stored is not None:
            self._in_memory.inc()
            return stored
        stored = await self._cache.in_redis(key)
        if stored is not None:
            self._in_redis.inc()
        return stored

    def kept(self, request: PairRequest) -> GivenJudgment | None:
        """The judgment that this process holds, counted as given."""
        started = time.perf_counter()
        stored = self._cache.in_memory(request.key)
        if stored is None:
            return None
        self._in_memory.inc()
        given = GivenJudgment(stored, cached=True)
        self.note(request, given, time.perf_counter() - started)
        return given

    async def give(self, request: PairRequest, *, wait_s: float | None = None, emit: Emit | None = None) -> GivenJudgment:
        """The judgment: from the cache, from equal work in flight, or a new one, whose replies go to `emit` while they are written.

        A new one waits for its turn, at most `wait_s` seconds, else raises `EngineBusy`. Cancelling it stops the engine unless
        other callers wait for the same. Raises `InputError`.
        """
        if (kept := self.kept(request)) is not None:
            return kept
        started = time.perf_counter()
        stored = None
        if not self._queue.free:  # a judgment in Redis needs no slot; with a free slot, `_fly` looks it up
            stored = await self.stored(request.key)
        if stored is not None:
            given = GivenJudgment(stored, cached=True)
        else:
            async with self._queue.turn(wait_s):
                given = await self._flights.join(request.key, partial(self._fly, request, emit))
        self.note(request, given, time.perf_counter() - started)
        return given

    def note(self, request: PairRequest, given: GivenJudgment, seconds: float) -> None:
        """Count a judgment that a caller received after `seconds`, and keep it in the history."""
        self._metrics.gave(given.json.label, seconds, cached=given.cached)
        if self._history.keep:
            self._history.note(request.key, request.pair, request.options, given.json, seconds, cached=given.cached)

    async def _fly(self, request: PairRequest, emit: Emit | None) -> GivenJudgment:
        """The work that one process does for all concurrent callers of one key."""
        key = request.key
        if self._leases is None:
            return (await self._make(request, emit))[0]
        token = new_token()
        packed = await self._leases.wait_or_take(key, stored_name(key), token)
        stored = self._cache.take_in(key, packed)
        if stored is not None:
            self._in_redis.inc()
            return GivenJudgment(stored, cached=True)
        async with self._leases.held(key, token) as lease:
            given, kept_under = await self._make(request, emit)
            lease.done = kept_under == key
            return given

    async def _make(self, request: PairRequest, emit: Emit | None) -> tuple[GivenJudgment, str | None]:
        """A new judgment, stored under its key if it may be: in this process before any caller reads it, in Redis soon after."""
        self._miss.inc()
        judgment = await self._judge.judge(request.pair, request.options, emit)
        self._metrics.made(judgment)
        json = JudgmentJson.of(judgment)
        key = None if json.failed else await self._key_to_keep(request, judgment.weight_version)
        if key is not None:
            self._cache.put(key, json)
        return GivenJudgment(json, cached=False), key

    async def _key_to_keep(self, request: PairRequest, version: str) -> str | None:
        """The key of the weights that judged, which may have moved since the request came; None where engines differ."""
        try:
            if version not in self._engines.versions:
                await self._engines.refresh()
            info = await self._engines.now()
        except (EngineError, InputError):
            return None
        if self._engines.versions != frozenset((version,)):
            return None
        return request.key if info == request.info else self._key(request.pair, request.options, info)

    def _key(self, pair: Pair, options: Options, info: EngineInfo) -> str:
        return judgment_key(pair, options, (info.model, info.weight_version, *self._judge.prompts.identity(info.model)))
