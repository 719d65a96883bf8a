"""`POST /v1/judge/batch`: many pairs; one line of JSON each, in the order in which they finish."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from reasrm.errors import EngineError, InputError
from reasrm.types import Judgment, NoVerdict, Options, Pair
from reasrm_serving.errors import Problem
from reasrm_serving.http.openapi import BATCHED, asks
from reasrm_serving.http.requests import deadline_of, read
from reasrm_serving.http.schemas import BATCH_EXAMPLES, BatchRequest
from reasrm_serving.judgment_json import JudgmentJson
from reasrm_serving.wiring import Services, services_of

log = logging.getLogger("reasrm.serving")
router = APIRouter(tags=["judging"])


@router.post("/v1/judge/batch", responses=BATCHED, openapi_extra=asks(BatchRequest, BATCH_EXAMPLES))
async def batch(request: Request) -> Response:
    """Judge many pairs by the same options. Each line is a judgment with the `index` of its pair; a failed one has no verdict."""
    services = services_of(request)
    asked = await read(request, BatchRequest)
    deadline = deadline_of(request, asked)
    if len(asked.pairs) > services.settings.max_batch:
        raise Problem(422, "invalid", f"pairs: at most {services.settings.max_batch} at once, not {len(asked.pairs)}", "pairs")
    info = await services.engines.now(deadline)
    options = asked.options(info.max_context)
    return StreamingResponse(_lines(services, asked.pairs, options, deadline), media_type="application/x-ndjson")


async def _lines(services: Services, pairs: tuple[Pair, ...], options: Options, deadline: float) -> AsyncIterator[bytes]:
    """The lines as they come. At most half of the slots serve one batch, so that others get in."""
    finished: asyncio.Queue[bytes] = asyncio.Queue()
    left = iter(enumerate(pairs))

    async def work() -> None:
        for index, pair in left:
            reply = await _judged(services, pair, options, deadline)
            finished.put_nowait(reply.body(b'{"index":%d,' % index) + b"\n")

    workers = [asyncio.create_task(work()) for _ in range(min(len(pairs), max(1, services.queue.slots // 2)))]
    try:
        for _ in pairs:
            yield await finished.get()
    finally:  # also when the client hangs up
        for worker in workers:
            worker.cancel()


async def _judged(services: Services, pair: Pair, options: Options, deadline: float) -> JudgmentJson:
    """One pair of a batch; whatever goes wrong is its outcome."""
    started = time.perf_counter()
    key, cached = "", False
    try:
        async with asyncio.timeout_at(deadline):
            key = await services.judge.key(pair, options)
            reply = await services.judge.cached(key)
            cached = reply is not None
            if reply is None:
                async with services.queue.in_turn():
                    reply = await services.judge.reply(key, pair, options)
    except TimeoutError:
        reply = _none(NoVerdict(reason="deadline", detail="there was no judgment in time"))
    except InputError as error:
        reply = _none(NoVerdict(reason="too_long", detail=str(error)))
    except EngineError as error:
        reply = _none(NoVerdict(reason="engine_failed", detail=str(error)))
    except Exception:
        log.exception("a pair of a batch failed")
        reply = _none(NoVerdict(reason="engine_failed", detail="the gateway failed; its log says why"))
    services.judge.gave(key, pair, options, reply, time.perf_counter() - started, cached=cached)
    return reply


def _none(outcome: NoVerdict) -> JudgmentJson:
    return JudgmentJson.of(Judgment(outcome=outcome))
