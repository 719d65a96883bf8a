"""`POST /v1/reward`: one rollout within its cohort, as reasrm's own reward functions ask (a TRL group that straddles ranks, verl).

Here no verdict is null with its reason; the caller decides what that means.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from reasrm.judging.group import MAX_RESPONSES, MethodName, RankOptions, Rewarded
from reasrm.messages import EMPTY
from reasrm.rewards.thinking import Thinking, without_thought
from reasrm.types import Question
from reasrm.types import Response as Trajectory
from reasrm_serving.cohorts.result import Text, method_for
from reasrm_serving.frameworks.common import JudgedRollout, reward_number, rewards_for
from reasrm_serving.frameworks.query import RewardQuery
from reasrm_serving.http.openapi import REWARDED, asks
from reasrm_serving.http.requests import read, unless_gone
from reasrm_serving.wiring import services_of

router = APIRouter(tags=["RL frameworks"])


class RewardRequest(RankOptions):
    """A rollout, and how its group is ranked: all fields of `POST /v1/rank`.

    `cohort` is the number of rollouts of its prompt. Rollouts of one `run` (which includes the step) belong together. The default
    of `method` is the cheaper one of `all_pairs` and `swiss`. `thinking` "keep" judges the policy's thoughts too.
    """

    question: Question = Field(description="The question: a text, or messages that end with a user or tool message.")
    response: Trajectory = Field(description="One rollout: a text, or messages that start and end with an assistant message.")
    cohort: Annotated[int, Field(ge=1, le=MAX_RESPONSES)] = Field(description="How many rollouts of the prompt belong together.")
    reference: Trajectory | None = Field(default=None, description="A reference answer, which is the zero of all rewards.")
    rubric: Annotated[str, Field(min_length=1)] | None = Field(default=None, description="What to judge by.")
    run: Annotated[str, Field(max_length=200)] = Field(
        default="", description="The training run, with its step: rollouts of different runs never share a cohort."
    )
    method: MethodName | None = Field(  # pyright: ignore[reportIncompatibleVariableOverride] - chosen by the cohort's size
        default=None, description="How comparisons are chosen; the default depends on the size of the cohort."
    )
    thinking: Thinking = Field(default="strip", description="Whether the policy's thoughts are left out (strip) or judged (keep).")
    wait_s: Annotated[float, Field(gt=0, le=3600)] = Field(default=60.0, description="Seconds to wait for the other rollouts.")
    timeout_s: Annotated[float, Field(gt=0, le=86400)] | None = Field(
        default=None, description="Seconds that the request may take."
    )

    def options(self) -> RankOptions:
        """How the group is ranked."""
        given = {name: getattr(self, name) for name in self.model_fields_set & RankOptions.model_fields.keys()}
        return RankOptions.model_validate(given | {"method": self.method or method_for(self.cohort).method})


EXAMPLES: dict[str, Any] = {
    "one of eight": {"value": {"question": "What is 2 + 3?", "response": "5", "cohort": 8, "run": "my-run/step-12", "wait_s": 30}}
}


@router.post("/v1/reward", responses=REWARDED, openapi_extra=asks(RewardRequest, EXAMPLES))
async def reward(request: Request) -> Response:
    """The reward of one rollout, once its whole cohort has arrived or `wait_s` are over."""
    services = services_of(request)
    body = await read(request, RewardRequest)
    query = RewardQuery.model_construct(cohort=body.cohort, run=body.run, wait=body.wait_s, timeout=body.timeout_s)
    response, reference = body.response, body.reference
    if body.thinking == "strip":
        response, reference = _without_thoughts(response), reference and _without_thoughts(reference)
    rollout = JudgedRollout(body.question, response, reference, body.rubric)
    rewards = rewards_for(request, query, [rollout], services.settings.timeout_s, body.options())
    [rewarded] = await unless_gone(request, rewards)
    answer = Rewarded(
        reward=reward_number(rewarded, "null", services, "native"),
        stderr=rewarded.stderr,
        mean=rewarded.mean,
        no_verdict=rewarded.reason,
        totals=rewarded.totals,
    )
    return Response(answer.model_dump_json(), media_type="application/json")


def _without_thoughts(text: Text) -> Text:
    """A trajectory without the policy's thoughts; a turn with nothing else becomes an empty one."""
    return tuple(
        message.model_copy(update={"content": without_thought(message.content) or ("" if message.tool_calls else EMPTY)})
        if message.role == "assistant"
        else message
        for message in text
    )
