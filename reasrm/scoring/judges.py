"""The judge that scores: a gateway, or an engine with a prompt pack, held within a limiter; and what identifies it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from reasrm.errors import InputError
from reasrm.judge_address import JudgeAddress
from reasrm.results import JudgeIdentity
from reasrm.scoring.limiter import Limiter
from reasrm.types import Ask, Completer, Completion, Judgment, NoVerdict, Options, Pair, PairJudge


@dataclass(frozen=True, slots=True)
class Connected:
    """A judge that is there. `identity` names its model, weights and prompts (see `JudgeIdentity`); a journal must not mix them."""

    judge: PairJudge
    identity: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LimitedCompleter:
    """An engine whose requests keep within a limiter, which waits out its refusals."""

    completer: Completer
    limiter: Limiter

    async def complete(self, ask: Ask) -> Completion:
        """One completion, when there is room for it."""
        return await self.limiter.run(lambda: self.completer.complete(ask))


@dataclass(frozen=True, slots=True)
class LimitedJudge:
    """A gateway whose judgments keep within a limiter."""

    inner: PairJudge
    limiter: Limiter

    async def judge(self, pair: Pair, options: Options) -> Judgment:
        """One judgment, when there is room for it."""
        return await self.limiter.run(lambda: self.inner.judge(pair, options), failed=_failed)


def _failed(judgment: Judgment) -> bool:
    return isinstance(judgment.outcome, NoVerdict) and judgment.outcome.transient


@asynccontextmanager
async def connect(address: JudgeAddress, limiter: Limiter) -> AsyncGenerator[Connected]:
    """The judge at `address`. Raises EngineError, GatewayError or PromptPackError where there is none."""
    if address.engine is not None:
        from reasrm.engine import HttpEngine
        from reasrm.judging import EngineJudge
        from reasrm.prompts import fence_key, load_pack

        pack = load_pack(address.prompts)
        async with HttpEngine(
            address.engine, model=address.model, api_key=address.token, timeout_s=address.timeout_s, retries=0, connections=1024
        ) as engine:
            info = await engine.info()
            judge = EngineJudge(LimitedCompleter(engine, limiter), pack, fence_key())
            yield Connected(judge, JudgeIdentity(info.model, info.weight_version, pack.digest)._asdict())
        return
    from reasrm.client import Judge

    async with Judge(address.url, token=address.token, timeout_s=address.timeout_s, connections=1024, busy_retries=0) as gateway:
        models = await gateway.models()
        if not models:
            raise InputError(f"the gateway at {address.url} serves no model")
        served = models[0]
        who = JudgeIdentity(str(served.get("id")), served.get("weight_version") or "", served.get("prompt_digest") or "")
        yield Connected(LimitedJudge(gateway, limiter), who._asdict())
