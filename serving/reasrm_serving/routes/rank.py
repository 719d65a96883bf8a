"""`POST /v1/rank`: a group of responses to one question."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from reasrm.types import Comparison, Ranking, Reading
from reasrm_serving.http.openapi import RANKED, asks
from reasrm_serving.http.requests import DirectRoute, read, unless_gone
from reasrm_serving.judging.ranking import RankRequest
from reasrm_serving.wiring import services_of

router = APIRouter(tags=["judging"], route_class=DirectRoute)

_QUESTION = "What is 17 + 25?"
EXAMPLES: dict[str, Any] = {
    "four rollouts": {"value": {"question": _QUESTION, "responses": ["42", "43", "It is 42.", "17 + 25 = 32"]}},
    "against a reference, at most ten readings": {
        "value": {
            "question": _QUESTION,
            "responses": ["42", "43"],
            "reference": "17 + 25 = 42",
            "method": "pivot",
            "orders": "both",
            "budget": {"comparisons": 10},
        }
    },
}


@router.post("/v1/rank", responses=RANKED, openapi_extra=asks(RankRequest, EXAMPLES))
async def rank(request: Request) -> Response:
    """Rank 1 to 64 responses to one question: a reward with its standard error for each, an order, the comparisons, the cost."""
    services = services_of(request)
    body = await read(request, RankRequest)
    deadline = body.deadline(services.settings.timeout_s)
    info = await services.engines.now(deadline)
    within = deadline - asyncio.get_running_loop().time()
    ranking = await unless_gone(request, services.ranker.rank(body.group, body.ranking(info.max_context), within))
    return Response(body_of(ranking, replies=body.replies), media_type="application/json")


def body_of(ranking: Ranking, *, replies: bool) -> bytes:
    """The JSON of a ranking, with its rewards as a plain list beside it."""
    shown = ranking if replies else _bare(ranking)
    return b'{"rewards":' + orjson.dumps(ranking.rewards) + b"," + shown.model_dump_json().encode()[1:]


def _bare(ranking: Ranking) -> Ranking:
    """The ranking without the texts that the judge wrote."""
    return ranking.model_copy(update={"comparisons": tuple(_bare_comparison(comparison) for comparison in ranking.comparisons)})


def _bare_comparison(comparison: Comparison) -> Comparison:
    opinions = tuple(
        opinion.model_copy(update={"reply": "", "reading": Reading(answer=opinion.reading.answer)})
        for opinion in comparison.judgment.opinions
    )
    return comparison.model_copy(update={"judgment": comparison.judgment.model_copy(update={"opinions": opinions})})
