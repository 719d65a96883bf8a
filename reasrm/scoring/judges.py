"""The judge that scores: a gateway, or an engine with a prompt pack, held within a limiter; and what identifies it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import stamina

from reasrm.errors import EngineBusy, EngineError, InputError, ReasrmError
from reasrm.failures import failed_judgment
from reasrm.judge_address import JudgeAddress
from reasrm.results import JudgeIdentity
from reasrm.scoring.limiter import Limiter
from reasrm.types import Ask, Completer, Completion, Judgment, Options, Pair, PairJudge

if TYPE_CHECKING:
    from reasrm.client import Judge
    from reasrm.engine import EngineInfo, HttpEngine
    from reasrm.judging import EngineJudge

LOADING_S = 120.0


@dataclass(frozen=True, slots=True)
class Connected:
    """A connected judge. `identity` names its model, weights and prompts (see `JudgeIdentity`); a journal must not mix them."""

    judge: PairJudge
    identity: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LimitedCompleter:
    """An engine whose requests keep within a limiter, which waits out its failures."""

    completer: Completer
    limiter: Limiter
    timeout_s: float | None = None

    async def complete(self, ask: Ask) -> Completion:
        """One completion, when there is room for it."""
        return await self.limiter.run(lambda: self.completer.complete(ask), timeout_s=self.timeout_s)


@dataclass(frozen=True, slots=True)
class LimitedJudge:
    """A gateway whose judgments keep within a limiter, which waits out its failures."""

    gateway: Judge
    limiter: Limiter

    async def judge(self, pair: Pair, options: Options) -> Judgment:
        """One judgment, when there is room for it."""
        try:
            return await self.limiter.run(lambda: self.gateway.judge_or_raise(pair, options))
        except (ReasrmError, TimeoutError) as error:
            return failed_judgment(error)


@asynccontextmanager
async def connect(address: JudgeAddress, limiter: Limiter) -> AsyncGenerator[Connected]:
    """The judge at `address`. Raises EngineError, GatewayError, ConfigurationError or PromptPackError where there is none."""
    async with _connect_engine(address, limiter) if address.engine else _connect_gateway(address, limiter) as connected:
        yield connected


@asynccontextmanager
async def _connect_engine(address: JudgeAddress, limiter: Limiter) -> AsyncGenerator[Connected]:
    async with engine_judge(address, limiter) as (judge, info):
        yield Connected(judge, JudgeIdentity(info.model, info.weight_version, judge.pack.digest)._asdict())


@asynccontextmanager
async def engine_judge(address: JudgeAddress, limiter: Limiter) -> AsyncGenerator[tuple[EngineJudge, EngineInfo]]:
    """A judge over the engine of `address`, whose requests keep within `limiter`, and what the engine is.

    Raises EngineError, ConfigurationError or PromptPackError.
    """
    from reasrm.engine import HttpEngine
    from reasrm.judging import EngineJudge
    from reasrm.prompts import fence_key, load_pack
    from reasrm.prompts.choice import pack_for

    given = load_pack(address.prompts) if address.prompts else None
    async with HttpEngine(
        address.engine or "",
        model=address.model,
        api_key=address.token,
        timeout_s=None,  # the limiter subtracts the time that a request spends in our own queue
        retries=0,
        connections=1024,
        ca_file=address.ca_file,
    ) as engine:
        info = await _probed(engine)
        pack = given or load_pack(pack_for(info.model).pack)

        async def is_there() -> bool:
            try:
                await engine.info(refresh=True)
            except EngineError:
                return False
            return True

        limiter.probe = is_there
        if info.abilities.prefixes == "slots" and info.abilities.slots:
            limiter.keep_near(info.abilities.slots)
        yield EngineJudge(LimitedCompleter(engine, limiter, address.timeout_s), pack, fence_key()), info


async def _probed(engine: HttpEngine) -> EngineInfo:
    """What the engine is; an engine that still loads its model is waited for."""
    async for attempt in stamina.retry_context(on=EngineBusy, attempts=None, timeout=LOADING_S, wait_initial=0.5, wait_max=5.0):
        with attempt:
            return await engine.probe()
    raise AssertionError("the last attempt returns or raises")


@asynccontextmanager
async def _connect_gateway(address: JudgeAddress, limiter: Limiter) -> AsyncGenerator[Connected]:
    from reasrm.client import Judge

    async with Judge(
        address.url,
        token=address.token,
        timeout_s=address.timeout_s,
        connections=1024,
        busy_retries=0,
        ca_file=address.ca_file,
    ) as gateway:
        models = await gateway.models()
        if not models:
            raise InputError(f"the gateway at {gateway.shown} serves no model")
        served = models[0]
        who = JudgeIdentity(str(served.get("id")), served.get("weight_version") or "", served.get("prompt_digest") or "")
        limiter.probe = gateway.ready
        yield Connected(LimitedJudge(gateway, limiter), who._asdict())
