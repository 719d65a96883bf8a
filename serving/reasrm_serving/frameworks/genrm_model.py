"""NeMo Gym's second way in: the gateway as the GenRM model behind its own `genrm_compare` server (`POST /v1/responses`).

`input` is the conversation, `metadata` holds `response_1`, `response_2` and perhaps a `principle`. The answer is a Responses object
whose text is {"score_1": 1..5, "score_2": 1..5, "ranking": 1..6}. A pair without verdict gets a text without scores, which
`genrm_compare` counts as its own neutral value.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict

from reasrm.errors import EngineError
from reasrm.rewards.texts import response_of
from reasrm.types import TRANSIENT, Judgment, NoVerdict, Options, Pair
from reasrm_serving.errors import Problem
from reasrm_serving.frameworks.common import fitted, response_text
from reasrm_serving.frameworks.nemo_gym import genrm_scores
from reasrm_serving.frameworks.query import query_of
from reasrm_serving.frameworks.responses_api import input_question
from reasrm_serving.http.openapi import ERRORS, asks
from reasrm_serving.http.requests import read, unless_gone
from reasrm_serving.wiring import services_of

router = APIRouter(tags=["RL frameworks"])


class ResponsesRequest(BaseModel):
    """A request of OpenAI's Responses API. Sampling parameters have no meaning for a judge."""

    model_config = ConfigDict(frozen=True, extra="allow")
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    metadata: dict[str, str] | None = None


EXAMPLES: dict[str, Any] = {
    "a pair": {"value": {"input": "What is 2 + 3?", "metadata": {"response_1": "5", "response_2": "6", "principle": "Be right."}}}
}


@router.post("/v1/responses", responses=ERRORS, openapi_extra=asks(ResponsesRequest, EXAMPLES))
async def responses(request: Request) -> Response:
    """Judge the pair in `metadata` as a GenRM would; `?orders=both` reads it in both orders."""
    services, query = services_of(request), query_of(request)
    body = await read(request, ResponsesRequest)
    metadata = body.metadata or {}
    if not {"response_1", "response_2"} <= metadata.keys():
        why = "a judge writes no responses: put a pair into metadata.response_1 and metadata.response_2, or use POST /v1/judge"
        raise Problem(422, "invalid", why, "metadata")
    pair = Pair(
        question=input_question(body.input, "input", body.instructions),
        a=response_text(response_of(metadata["response_1"], thinking=query.thinking), "metadata.response_1"),
        b=response_text(response_of(metadata["response_2"], thinking=query.thinking), "metadata.response_2"),
        rubric=metadata.get("principle") or None,
    )
    info = await services.engines.now()
    options = fitted(Options(orders=query.orders), info.max_context)
    async with asyncio.timeout(min(query.timeout or services.settings.timeout_s, services.settings.timeout_s)):
        judgment = await unless_gone(request, services.judge.judge(pair, options))
    answer = _responses_object(_scores_text(judgment), info.model, judgment)
    return Response(orjson.dumps(answer), media_type="application/json")


def _scores_text(judgment: Judgment) -> str:
    """The judgment as a GenRM writes it. Raises `EngineError` for a passing failure: the caller asks again."""
    if isinstance(judgment.outcome, NoVerdict):
        if judgment.outcome.reason in TRANSIENT:
            raise EngineError(judgment.outcome.detail or judgment.outcome.reason)
        return f"no verdict: {judgment.outcome.reason}"
    return json.dumps(genrm_scores(judgment.probability_a))


def _responses_object(text: str, model: str, judgment: Judgment) -> dict[str, Any]:
    usage = judgment.usage
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "completed",
        "model": model,
        "output": [
            {
                "id": f"msg_{uuid.uuid4().hex}",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": text, "annotations": []}],
            }
        ],
        "parallel_tool_calls": False,
        "tool_choice": "none",
        "tools": [],
        "usage": {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        },
    }
