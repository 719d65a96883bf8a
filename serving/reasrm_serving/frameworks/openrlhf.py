"""OpenRLHF >= 0.11 (`--reward.remote_url http://gateway:8900/get_reward?cohort=8`).

Its client posts `{"query": [prompt + response], "prompts": [prompt], "labels": [any]}`, waits 180 s, tries five times with
pauses of a second, and reads `rewards` (put into a float tensor), `scores` (for dynamic filtering) and `extra_logs`. With several
addresses each call goes to the next one, so the gateways behind them must share a Redis; versions before 0.11.2 send empty lists to
the others.

No verdict: "mean" by default, since null cannot go into its tensor and an error five times over ends the job; `extra_logs` says
which rewards are not judged.
"""

from __future__ import annotations

import re
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import Field, model_validator

from reasrm.rewards.texts import prompt_of, response_of
from reasrm.types import Frozen
from reasrm_serving.cohorts.result import Reward
from reasrm_serving.errors import Problem
from reasrm_serving.frameworks.common import (
    JudgedRollout,
    question_text,
    reference_of,
    response_text,
    reward_number,
    rewards_for,
)
from reasrm_serving.frameworks.query import RewardQuery, query_of
from reasrm_serving.http.openapi import ERRORS, asks
from reasrm_serving.http.requests import read, unless_gone
from reasrm_serving.wiring import Services, services_of

router = APIRouter(tags=["RL frameworks"])
PATIENCE_S = 170.0  # the client's 180 s, less the time on the network
ANCHOR = 16  # characters at a prompt's end that locate it
PLACES = 64  # the most places that are tried as the prompt's end
FILTERED = 0.0  # dynamic filtering keeps groups whose mean score lies strictly between its bounds, which are 0 and 1 at the widest
EQUAL = 1e-9


class GetReward(Frozen):
    """What OpenRLHF posts."""

    query: list[str]
    prompts: list[str]
    labels: list[Any] = Field(default_factory=list[Any])

    @model_validator(mode="after")
    def _one_prompt_per_query(self) -> GetReward:
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
    services, query = services_of(request), query_of(request)
    body = await read(request, GetReward)
    if len(body.query) > services.settings.max_batch:
        limit = f"query: at most {services.settings.max_batch} at once, not {len(body.query)}"
        raise Problem(422, "invalid", limit, "query")
    rollouts = [_rollout(body, index, query, services) for index in range(len(body.query))]
    rewarded = await unless_gone(request, rewards_for(request, query, rollouts, PATIENCE_S)) if rollouts else []
    rewards = [reward_number(result, query.no_verdict, services, "openrlhf") for result in rewarded]
    answer = {
        "rewards": rewards,
        "scores": [_score(reward, result) for reward, result in zip(rewards, rewarded, strict=True)],
        "extra_logs": {
            "no_verdict": [float(result.value is None) for result in rewarded],
            "reward_stderr": [result.stderr or 0.0 for result in rewarded],
            "cohort_missing": [_missing(result, query) for result in rewarded],
        },
    }
    return Response(orjson.dumps(answer), media_type="application/json")


def _score(number: float | None, reward: Reward) -> float | None:
    """The reward in [0, 1]; `FILTERED` for a group without any verdict, or whose rewards do not differ.

    Group-relative rewards have the mean 0, so the mean score of a group that teaches something is 0.5, and that of one which
    teaches nothing must lie elsewhere.
    """
    if number is None:
        return None
    return FILTERED if reward.mean is None or (reward.spread or 0.0) <= EQUAL else (number + 1.0) / 2.0


def _missing(reward: Reward, query: RewardQuery) -> float:
    """The number of rollouts of the cohort that were missing when it was judged."""
    if query.cohort is None:
        return 0.0
    return float(max(0, query.cohort - reward.rollouts))


def _rollout(body: GetReward, index: int, query: RewardQuery, services: Services) -> JudgedRollout:
    prompt = body.prompts[index]
    written = after_prompt(body.query[index], prompt)
    if written is None:
        raise Problem(422, "invalid", f"query.{index} does not begin with prompts.{index}", "query")
    question, begun, unknown = prompt_of(prompt)
    services.metrics.prompt_read("openrlhf", known=unknown is None)
    response = response_of(written, begun, thinking=query.thinking, special_tokens=True)
    label = body.labels[index] if body.labels else None
    return JudgedRollout(
        question_text(question, f"prompts.{index}"), response_text(response, f"query.{index}"), reference_of(label, query)
    )


def after_prompt(query: str, prompt: str) -> str | None:
    """The response in `query`, which is `prompt` and the response decoded together; None where the prompt is not before it.

    A decoder may have changed white space, and a prompt that was too long has been cut from the left.
    """
    if query.startswith(prompt):
        return query[len(prompt) :]
    folded, target = "".join(query.split()), "".join(prompt.split())
    if not target:
        return query
    end = len(target) if folded.startswith(target) else _end_of_cut(folded, target)
    return None if end is None else query[_place_after(query, end) :]


def _end_of_cut(folded: str, target: str) -> int | None:
    """The length of the longest beginning of `folded` that is an end of `target`; None if there is none."""
    anchor, before = target[-ANCHOR:], len(target)
    for _ in range(PLACES):
        start = folded.rfind(anchor, 0, before)
        if start < 0:
            return None
        end = start + len(anchor)
        if target.endswith(folded[:end]):
            return end
        before = end - 1
    return None


def _place_after(text: str, count: int) -> int:
    """The place in `text` after that many characters other than white space."""
    for word in re.finditer(r"\S+", text):
        if count <= word.end() - word.start():
            return word.start() + count
        count -= word.end() - word.start()
    return len(text)
