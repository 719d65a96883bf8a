"""OpenRLHF >= 0.11 (`--reward.remote_url http://gateway:8900/get_reward?cohort=8`).

Its client posts `{"query": [prompt + response], "prompts": [prompt], "labels": [any]}`, waits 180 s, tries five times a second
apart, and reads `rewards` (put into a float tensor), `scores` in [0, 1] (for dynamic filtering) and `extra_logs`. With several
addresses the others get empty lists, which are answered with empty lists.

No verdict: "mean" by default, since null cannot go into its tensor and an error five times over ends the job; `extra_logs` says
which rewards are not judged.
"""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import Field, model_validator

from reasrm.judging.group import EMPTY
from reasrm.types import Frozen
from reasrm_serving.errors import Problem
from reasrm_serving.frameworks.chat_templates import after_prompt, plain, question_of
from reasrm_serving.frameworks.common import Rollout, Wishes, reference_of, rewards_for, settled, text_of, wishes_of
from reasrm_serving.http.openapi import ERRORS, asks
from reasrm_serving.http.requests import read, unless_gone
from reasrm_serving.wiring import services_of

router = APIRouter(tags=["RL frameworks"])
PATIENCE_S = 170.0  # the client's 180 s, less the way


class GetReward(Frozen):
    """What OpenRLHF posts."""

    query: list[str]
    prompts: list[str]
    labels: list[Any] = Field(default_factory=list[Any])

    @model_validator(mode="after")
    def _one_prompt_a_query(self) -> GetReward:
        if len(self.prompts) != len(self.query):
            raise ValueError(f"{len(self.query)} queries, but {len(self.prompts)} prompts")
        if self.labels and len(self.labels) != len(self.query):
            raise ValueError(f"{len(self.query)} queries, but {len(self.labels)} labels")
        return self


EXAMPLES: dict[str, Any] = {
    "one rollout": {"value": {"query": ["What is 2 + 3?5"], "prompts": ["What is 2 + 3?"], "labels": ["5"]}},
    "another rank's turn": {"value": {"query": [], "prompts": [], "labels": []}},
}


@router.post("/get_reward", responses=ERRORS, openapi_extra=asks(GetReward, EXAMPLES))
async def get_reward(request: Request) -> Response:
    """Rewards for OpenRLHF. The address says how: `?cohort=8&run=NAME&wait=60&no_verdict=mean|null|error&reference=label`."""
    services, wishes = services_of(request), wishes_of(request, "mean")
    asked = await read(request, GetReward)
    rollouts = [_rollout(asked, index, wishes) for index in range(len(asked.query))]
    found = await unless_gone(request, rewards_for(request, wishes, rollouts, PATIENCE_S)) if rollouts else []
    rewards = [settled(each, wishes.no_verdict, services, "openrlhf") for each in found]
    body = {
        "rewards": rewards,
        "scores": [None if reward is None else (reward + 1.0) / 2.0 for reward in rewards],
        "extra_logs": {
            "no_verdict": [float(each.value is None) for each in found],
            "reward_stderr": [each.stderr or 0.0 for each in found],
        },
    }
    return Response(orjson.dumps(body), media_type="application/json")


def _rollout(asked: GetReward, index: int, wishes: Wishes) -> Rollout:
    query, prompt = asked.query[index], asked.prompts[index]
    written = after_prompt(query, prompt)
    if written is None:
        raise Problem(422, "invalid", f"query.{index} does not begin with prompts.{index}", "query")
    question = text_of(question_of(prompt), "user", f"prompts.{index}")
    response = text_of(plain(written) or EMPTY, "assistant", f"query.{index}")
    return Rollout(question, response, reference_of(asked.labels[index] if asked.labels else None, wishes))
