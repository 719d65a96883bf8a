"""`POST /v1/judge`: one pair."""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, Request, Response

from reasrm_serving.errors import Problem, failure_of
from reasrm_serving.http.openapi import JUDGED, asks
from reasrm_serving.http.requests import read_work, unless_gone
from reasrm_serving.http.schemas import JUDGE_EXAMPLES, JudgeRequest
from reasrm_serving.judgment_json import JudgmentJson
from reasrm_serving.wiring import services_of

router = APIRouter(tags=["judging"])


@router.post("/v1/judge", responses=JUDGED, openapi_extra=asks(JudgeRequest, JUDGE_EXAMPLES))
async def judge(request: Request) -> Response:
    """Judge two responses to a question: the verdict with its probability, and the whole reasoning behind it."""
    started = time.perf_counter()
    services = services_of(request)
    (_, pair, options, key), deadline = await read_work(request)
    reply = found = await services.judge.cached(key)
    if reply is None:
        if request.headers.get("cache-control") == "only-if-cached":  # RFC 9111, 5.2.1.7
            raise Problem(504, "not_cached", "the gateway has no such judgment, and was asked not to make one")
        async with services.queue.now(), asyncio.timeout_at(deadline):
            reply = await unless_gone(request, services.judge.reply(key, pair, options))
    services.judge.gave(key, pair, options, reply, time.perf_counter() - started, cached=found is not None)
    return respond(reply, {"x-judgment-id": key})


def respond(reply: JudgmentJson, headers: dict[str, str] | None = None) -> Response:
    """The HTTP response of a single judgment: an engine's failure is an error here."""
    problem = failure_of(reply)
    return problem.response() if problem else Response(reply.body(), headers=headers, media_type="application/json")
