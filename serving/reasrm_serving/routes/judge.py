"""`POST /v1/judge`: one pair."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

from reasrm_serving.errors import Problem, failure_of
from reasrm_serving.http.openapi import JUDGED, asks
from reasrm_serving.http.requests import DirectRoute, read, unless_gone
from reasrm_serving.http.schemas import JUDGE_EXAMPLES, JudgeRequest
from reasrm_serving.judging.service import GivenJudgment, PairRequest
from reasrm_serving.wiring import Services, services_of

router = APIRouter(tags=["judging"], route_class=DirectRoute)


@router.post("/v1/judge", responses=JUDGED, openapi_extra=asks(JudgeRequest, JUDGE_EXAMPLES))
async def judge(request: Request) -> Response:
    """Judge two responses to a question: the verdict with its probability and the whole reasoning."""
    services = services_of(request)
    body = await read(request, JudgeRequest)
    deadline = body.deadline(services.settings.timeout_s)
    info = await services.engines.now(deadline)
    work = services.judge.request(body.pair, body.options(info.max_context), info)
    if request.headers.get("cache-control") == "only-if-cached":  # RFC 9111, 5.2.1.7
        given = await _only_if_cached(services, work)
    elif (kept := services.judge.kept(work)) is not None:  # nothing to wait for, so nothing to watch the client for
        given = kept
    else:
        async with asyncio.timeout_at(deadline):
            given = await unless_gone(request, services.judge.give(work, wait_s=services.settings.turn_wait_s))
    if given.json.failed:  # for the caller of a single judgment a failure of the engine is an error
        problem = failure_of(given.json)
        assert problem is not None  # noqa: S101 - `problem` is only set for a failure
        return problem.response()
    return Response(given.json.body(cached=given.cached), headers={"x-judgment-id": work.key}, media_type="application/json")


async def _only_if_cached(services: Services, work: PairRequest) -> GivenJudgment:
    stored = await services.judge.stored(work.key)
    if stored is None:
        raise Problem(504, "not_cached", "the gateway has no such judgment, and was asked not to make one")
    given = GivenJudgment(stored, cached=True)
    services.judge.note(work, given, 0.0)
    return given
