"""The services behind the routes: opened when the gateway starts, closed when it stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import cast

from starlette.requests import Request

from reasrm.address import shown_address
from reasrm.prompts import Pack, load_pack
from reasrm_serving.cohorts.memory_store import MemoryStore
from reasrm_serving.cohorts.redis_store import RedisStore
from reasrm_serving.cohorts.service import Cohorts
from reasrm_serving.engines.client import EngineClient
from reasrm_serving.engines.domain import Domain
from reasrm_serving.engines.launched import LaunchedClient, LaunchedEngine
from reasrm_serving.engines.member import Engine, Member
from reasrm_serving.engines.pool import EnginePool
from reasrm_serving.judging.cache import Cache
from reasrm_serving.judging.engine_judge import PoolJudge, ServedPrompts
from reasrm_serving.judging.fair_queue import FairQueue
from reasrm_serving.judging.fences import fence_key
from reasrm_serving.judging.lease import Leases
from reasrm_serving.judging.ranking import Ranker
from reasrm_serving.judging.service import JudgingService
from reasrm_serving.observe.history import History
from reasrm_serving.observe.metrics import Metrics
from reasrm_serving.redis_link import RedisLink
from reasrm_serving.settings import LOCAL, Settings, secret


@dataclass(frozen=True, slots=True)
class Services:
    """`judge` is the `PairJudge` behind every route; `link` the Redis, if there is one."""

    settings: Settings
    prompts: ServedPrompts
    engines: EnginePool
    judge: JudgingService
    ranker: Ranker
    cohorts: Cohorts
    queue: FairQueue
    metrics: Metrics
    history: History
    link: RedisLink | None


def services_of(request: Request) -> Services:
    """The services of the app that `request` came to."""
    return cast(Services, request.app.state.services)


@asynccontextmanager
async def open_services(settings: Settings, launched: LaunchedEngine | None = None) -> AsyncGenerator[Services]:
    """All services for `settings` and the engine that was launched for them.

    Raises `InputError` for settings that cannot work; an engine or Redis may come later.
    """
    metrics, queue = Metrics(), FairQueue(settings.max_in_flight)
    async with AsyncExitStack() as stack:
        link = RedisLink(settings.redis_url, metrics.cache_errors.inc) if settings.redis_url else None
        if link is not None:
            await stack.enter_async_context(link)
        pool, pack, domain = _open_engines(settings, launched, metrics)
        engines = await stack.enter_async_context(pool)
        megabytes = 0.0 if settings.cache == "none" else settings.cache_mb
        cache = Cache(link, ttl_s=settings.cache_ttl_s, megabytes=megabytes)
        key = await fence_key(secret(settings.fence_secret), link, settings.state_dir.expanduser())
        history = History(settings.keeps_recent)
        leases = Leases(link, metrics.coalesced.labels("cluster").inc) if link else None
        prompts = ServedPrompts(pack, key)
        judge = JudgingService(PoolJudge(engines, prompts, domain), engines, cache, leases, queue, metrics, history)
        stack.push_async_callback(cache.aclose)
        _show(metrics, queue, engines, link)
        ranker = Ranker(judge, engines, prompts)
        warming = Ranker.warm()
        stack.callback(warming.cancel)
        store, early = RedisStore(link) if link else MemoryStore(), settings.cache != "none"
        cohorts = Cohorts(ranker, store, judge.identity, early=early, count=metrics.cohort_ended, sent_back=metrics.sent_back)
        stack.push_async_callback(cohorts.aclose)
        choosing = asyncio.create_task(prompts.choose(engines))
        stack.callback(choosing.cancel)
        yield Services(settings, prompts, engines, judge, ranker, cohorts, queue, metrics, history, link)


def _show(metrics: Metrics, queue: FairQueue, engines: EnginePool, link: RedisLink | None) -> None:
    """Gauges that are computed when Prometheus scrapes."""
    metrics.gauge("reasrm_in_flight", "Judgments under way", lambda: queue.taken)
    metrics.gauge("reasrm_engine_up", "Whether an engine answers", lambda: engines.error is None)
    for member in engines.members:
        metrics.circuit(member.name, lambda member=member: member.open)
    if link is not None:
        metrics.gauge("reasrm_redis_up", "Whether Redis answers", lambda: link.up)


def _open_engines(
    settings: Settings, launched: LaunchedEngine | None, metrics: Metrics
) -> tuple[EnginePool, Pack | None, Domain | None]:
    opened: dict[str, Engine]
    if launched is not None:
        opened, pack, domain = {LOCAL: _client_of(launched, settings)}, launched.pack, launched.domain
    else:
        opened, pack, domain = _clients(settings), load_pack(settings.prompts) if settings.prompts else None, None
    members = [
        Member(engine, name, settings.refresh_s, metrics.engine_failures.labels(name).inc) for name, engine in opened.items()
    ]
    return EnginePool(members, metrics.engine_retries.inc), pack, domain


def _client_of(launched: LaunchedEngine, settings: Settings) -> Engine:
    timeout_s, show_words = settings.engine_timeout_s or settings.timeout_s, settings.show_engine_errors
    if launched.info is not None:
        return LaunchedClient(launched, launched.info, timeout_s=timeout_s, show_words=show_words)
    return EngineClient(launched.url, model=None, api_key=None, timeout_s=timeout_s, show_words=show_words)


def _clients(settings: Settings) -> dict[str, Engine]:
    """The connections to the engines that run already, by the names of the engines."""
    return {
        _shown(url): EngineClient(
            url,
            model=settings.model,
            api_key=secret(settings.engine_key),
            timeout_s=settings.engine_timeout_s or settings.timeout_s,
            ca_file=settings.engine_ca,
            show_words=settings.show_engine_errors,
        )
        for url in settings.engine
    }


def _shown(url: str) -> str:
    """The name of an engine in metrics and messages: its address without a password."""
    return shown_address(url).split("://", 1)[-1].rstrip("/")
