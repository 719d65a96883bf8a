"""slime and miles (`--rm-type remote_rm --rm-url http://gateway:8900/remote_rm?cohort=8`).

slime's client posts `{"prompt", "response", "label"}` and takes the whole JSON body as the reward: a number, or with `?key=score`
and `--reward-key score` an object. It waits 120 s, tries ten times, and then the job dies: so the default for no verdict is "mean",
and the object says which rewards are not judged. (`reasrm.rewards.slime.batched_custom_rm` sends whole groups instead.)
"""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from reasrm.rewards.texts import prompt_of, response_of
from reasrm.types import Frozen
from reasrm_serving.frameworks.common import (
    JudgedRollout,
    question_text,
    reference_of,
    response_text,
    reward_number,
    rewards_for,
)
from reasrm_serving.frameworks.query import query_of
from reasrm_serving.http.openapi import ERRORS, asks
from reasrm_serving.http.requests import read, unless_gone
from reasrm_serving.wiring import services_of

router = APIRouter(tags=["RL frameworks"])
PATIENCE_S = 110.0  # the client's 120 s, less the time on the network
HOLD = 48  # of the client's 64 connections; the others bring new rollouts


class RemoteRm(Frozen):
    """What slime posts."""

    prompt: str | list[dict[str, Any]]
    response: str
    label: Any = None


EXAMPLES: dict[str, Any] = {"one rollout": {"value": {"prompt": "What is 2 + 3?", "response": "5", "label": "5"}}}


@router.post("/remote_rm", responses=ERRORS, openapi_extra=asks(RemoteRm, EXAMPLES))
async def remote_rm(request: Request) -> Response:
    """A reward for slime, as the address says: `?cohort=8&run=NAME&key=score&wait=60&no_verdict=mean&reference=label`."""
    services, query = services_of(request), query_of(request, hold=HOLD)
    body = await read(request, RemoteRm)
    question, begun, unknown = prompt_of(body.prompt)
    services.metrics.prompt_read("slime", known=unknown is None)
    response = response_of(body.response, begun, thinking=query.thinking, special_tokens=True)
    rollout = JudgedRollout(question_text(question, "prompt"), response_text(response, "response"), reference_of(body.label, query))
    [rewarded] = await unless_gone(request, rewards_for(request, query, [rollout], PATIENCE_S))
    reward = reward_number(rewarded, query.no_verdict, services, "slime")
    answer = reward if query.key is None else {query.key: reward, "no_verdict": rewarded.reason, "stderr": rewarded.stderr}
    return Response(orjson.dumps(answer), media_type="application/json")
