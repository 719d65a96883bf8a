"""`POST /v1/judge/batch`: many pairs; one line of JSON each, in the order in which they finish."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from reasrm.engine import EngineInfo
from reasrm.errors import ReasrmError
from reasrm.failures import failed_judgment
from reasrm.types import Options, Pair
from reasrm_serving.errors import Problem, problem_of
from reasrm_serving.http.openapi import BATCHED, asks
from reasrm_serving.http.requests import DirectRoute, read
from reasrm_serving.http.schemas import BATCH_EXAMPLES, BatchRequest
from reasrm_serving.judging.service import GivenJudgment, PairRequest
from reasrm_serving.judgment_json import JudgmentJson
from reasrm_serving.wiring import Services, services_of

router = APIRouter(tags=["judging"], route_class=DirectRoute)


@router.post("/v1/judge/batch", operation_id="judge_batch", responses=BATCHED, openapi_extra=asks(BatchRequest, BATCH_EXAMPLES))
async def batch(request: Request) -> Response:
    """Judge many pairs by the same options. Each line is a judgment with the `index` of its pair; a failed one has no verdict.

    Where a pair is refused or the set-up is wrong, its line has the `error` instead.
    """
    services = services_of(request)
    body = await read(request, BatchRequest)
    deadline = body.deadline(services.settings.timeout_s)
    if len(body.pairs) > services.settings.max_batch:
        limit = services.settings.max_batch
        message = f"pairs: at most {limit} at once, not {len(body.pairs)}"
        raise Problem(422, "too_many", message, "pairs", {"count": len(body.pairs), "limit": limit})
    info = await services.engines.now(deadline)
    lines = _lines(services, body.pairs, body.options(info.max_context), info, deadline)
    return StreamingResponse(lines, media_type="application/x-ndjson")


async def _lines(
    services: Services, pairs: tuple[Pair, ...], options: Options, info: EngineInfo, deadline: float
) -> AsyncIterator[bytes]:
    """The lines as they come. One batch uses at most half of the slots, so that other requests run too."""
    finished: asyncio.Queue[bytes] = asyncio.Queue()
    left = iter(enumerate(pairs))

    async def work() -> None:
        for index, pair in left:
            prefix = b'{"index":%d,' % index
            try:
                given = await _judged(services, services.judge.request(pair, options, info), deadline)
                line = given.json.body(cached=given.cached, prefix=prefix)
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


async def _judged(services: Services, request: PairRequest, deadline: float) -> GivenJudgment:
    """Judge one pair of a batch. A failure becomes its outcome; a mistake raises."""
    started = time.perf_counter()
    try:
        async with asyncio.timeout_at(deadline):
            return await services.judge.give(request)
    except (ReasrmError, TimeoutError) as error:
        given = GivenJudgment(JudgmentJson.of(failed_judgment(error)), cached=False)
        services.judge.note(request, given, time.perf_counter() - started)
        return given
