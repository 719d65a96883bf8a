"""`POST /v1/reward`: one rollout within its cohort, as reasrm's own reward functions ask (a TRL group that straddles ranks, verl).

Here no verdict is null with its reason; the caller decides what that means.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from reasrm.judging.group import MethodName, Rewarded
from reasrm.types import Frozen, Question
from reasrm.types import Response as Trajectory
from reasrm_serving.frameworks.common import Rollout, Wishes, rewards_for, settled
from reasrm_serving.http.openapi import REWARDED, asks
from reasrm_serving.http.requests import read, unless_gone
from reasrm_serving.wiring import services_of

router = APIRouter(tags=["RL frameworks"])


class RewardRequest(Frozen):
    """A rollout: `cohort` says how many belong to its prompt, `run` (with the step in it) which of them belong together."""

    question: Question = Field(description="The question: a text, or messages that end with a user or tool message.")
    response: Trajectory = Field(description="One rollout: a text, or messages that start and end with an assistant message.")
    cohort: Annotated[int, Field(ge=1, le=64)] = Field(description="How many rollouts of the prompt belong together.")
    reference: Trajectory | None = Field(default=None, description="A reference answer, which is the zero of all rewards.")
    run: Annotated[str, Field(max_length=200)] = Field(
        default="", description="The training run, with its step: rollouts of different runs never share a cohort."
    )
    method: MethodName | None = Field(
        default=None, description="How comparisons are chosen; by default as the size of the cohort asks."
    )
    orders: Literal["ab", "both"] = Field(default="ab", description="ab reads each comparison in one order, both in two.")
    wait_s: Annotated[float, Field(gt=0, le=3600)] = Field(default=60.0, description="Seconds to wait for the other rollouts.")
    timeout_s: Annotated[float, Field(gt=0, le=86400)] | None = Field(
        default=None, description="Seconds that the request may take."
    )


EXAMPLES: dict[str, Any] = {
    "one of eight": {"value": {"question": "What is 2 + 3?", "response": "5", "cohort": 8, "run": "my-run/step-12", "wait_s": 30}}
}


@router.post("/v1/reward", responses=REWARDED, openapi_extra=asks(RewardRequest, EXAMPLES))
async def reward(request: Request) -> Response:
    """The reward of one rollout, once its whole cohort has arrived or `wait_s` are over."""
    services = services_of(request)
    asked = await read(request, RewardRequest)
    wishes = Wishes.model_construct(
        cohort=asked.cohort, run=asked.run, method=asked.method, orders=asked.orders, wait=asked.wait_s, timeout=asked.timeout_s
    )
    rollout = Rollout(asked.question, asked.response, asked.reference)
    [found] = await unless_gone(request, rewards_for(request, wishes, [rollout], services.settings.timeout_s))
    value = settled(found, "null", services, "native")
    answer = Rewarded(reward=value, stderr=found.stderr, mean=found.mean, no_verdict=found.reason, totals=found.totals)
    return Response(answer.model_dump_json(), media_type="application/json")
