"""`POST /v1/judge/batch`: many pairs; one line of JSON each, in the order in which they finish."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from reasrm.errors import ReasrmError
from reasrm.failures import failed_judgment
from reasrm.types import Options, Pair
from reasrm_serving.errors import Problem, problem_of
from reasrm_serving.http.openapi import BATCHED, asks
from reasrm_serving.http.requests import deadline_of, read
from reasrm_serving.http.schemas import BATCH_EXAMPLES, BatchRequest
from reasrm_serving.judgment_json import JudgmentJson
from reasrm_serving.wiring import Services, services_of

router = APIRouter(tags=["judging"])


@router.post("/v1/judge/batch", operation_id="judge_batch", responses=BATCHED, openapi_extra=asks(BatchRequest, BATCH_EXAMPLES))
async def batch(request: Request) -> Response:
    """Judge many pairs by the same options. Each line is a judgment with the `index` of its pair; a failed one has no verdict.

    Where the set-up is wrong, a line has the `error` instead.
    """
    services = services_of(request)
    asked = await read(request, BatchRequest)
    deadline = deadline_of(request, asked)
    if len(asked.pairs) > services.settings.max_batch:
        limit = services.settings.max_batch
        message = f"pairs: at most {limit} at once, not {len(asked.pairs)}"
        raise Problem(422, "too_many", message, "pairs", {"count": len(asked.pairs), "limit": limit})
    info = await services.engines.now(deadline)
    options = asked.options(info.max_context)
    return StreamingResponse(_lines(services, asked.pairs, options, deadline), media_type="application/x-ndjson")


async def _lines(services: Services, pairs: tuple[Pair, ...], options: Options, deadline: float) -> AsyncIterator[bytes]:
    """The lines as they come. At most half of the slots serve one batch, so that others get in."""
    finished: asyncio.Queue[bytes] = asyncio.Queue()
    left = iter(enumerate(pairs))

    async def work() -> None:
        for index, pair in left:
            prefix = b'{"index":%d,' % index
            try:
                line = (await _judged(services, pair, options, deadline)).body(prefix)
            except Exception as error:  # noqa: BLE001 - a mistake, or a fault of the gateway, which `problem_of` logs
                line = prefix + problem_of(error).body()[1:]
            finished.put_nowait(line + b"\n")

    workers = [asyncio.create_task(work()) for _ in range(min(len(pairs), max(1, services.queue.slots // 2)))]
    try:
        for _ in pairs:
            yield await finished.get()
    finally:  # also when the client hangs up
        for worker in workers:
            worker.cancel()


async def _judged(services: Services, pair: Pair, options: Options, deadline: float) -> JudgmentJson:
    """One pair of a batch. A failure is its outcome; raises mistakes."""
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
    except (ReasrmError, TimeoutError) as error:
        reply = JudgmentJson.of(failed_judgment(error))
    services.judge.gave(key, pair, options, reply, time.perf_counter() - started, cached=cached)
    return reply
