"""slime (`--rm-type remote_rm --rm-url http://gateway:8900/remote_rm?cohort=8`).

Its client posts `{"prompt", "response", "label"}` and takes the whole JSON body as the reward: a number, or with `?key=score` and
`--reward-key score` an object. It waits 120 s, tries ten times, and then the job dies: so no verdict is "mean" by default, and the
object says which rewards are not judged. (`reasrm.rewards.slime.batched_custom_rm` sends whole groups instead.)
"""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from reasrm.judging.group import EMPTY
from reasrm.rewards import rollouts
from reasrm.types import Frozen
from reasrm_serving.frameworks.chat_templates import plain, question_of
from reasrm_serving.frameworks.common import Rollout, reference_of, rewards_for, settled, text_of, wishes_of
from reasrm_serving.http.openapi import ERRORS, asks
from reasrm_serving.http.requests import read, unless_gone
from reasrm_serving.wiring import services_of

router = APIRouter(tags=["RL frameworks"])
PATIENCE_S = 110.0  # the client's 120 s, less the way
HOLD = 48  # of its 64 connections: the others bring rollouts that have not been here


class RemoteRm(Frozen):
    """What slime posts."""

    prompt: str | list[dict[str, Any]]
    response: str
    label: Any = None


EXAMPLES: dict[str, Any] = {"one rollout": {"value": {"prompt": "What is 2 + 3?", "response": "5", "label": "5"}}}


@router.post("/remote_rm", responses=ERRORS, openapi_extra=asks(RemoteRm, EXAMPLES))
async def remote_rm(request: Request) -> Response:
    """A reward for slime, as the address says: `?cohort=8&run=NAME&key=score&wait=60&no_verdict=mean&reference=label`."""
    services, wishes = services_of(request), wishes_of(request, "mean", HOLD)
    asked = await read(request, RemoteRm)
    prompt = question_of(asked.prompt) if isinstance(asked.prompt, str) else rollouts.question_of(asked.prompt)
    rollout = Rollout(
        text_of(prompt, "user", "prompt"),
        text_of(plain(asked.response) or EMPTY, "assistant", "response"),
        reference_of(asked.label, wishes),
    )
    [found] = await unless_gone(request, rewards_for(request, wishes, [rollout], PATIENCE_S))
    reward = settled(found, wishes.no_verdict, services, "slime")
    body = reward if wishes.key is None else {wishes.key: reward, "no_verdict": found.reason, "stderr": found.stderr}
    return Response(orjson.dumps(body), media_type="application/json")
