"""NeMo Gym's resources server `genrm_compare`, as its agents call it.

`/verify` takes one rollout at a time, `/compare` a prompt's whole cohort. NeMo Gym knows a server by its host and port alone, so
the operator sets the size of a cohort (`reasrm serve --cohort 16`). `_ng_group_id` and `_ng_group_attempt` say which rollouts are
one group; requests without them are grouped by `_ng_task_index` or `prompt_id`. With its observability on, every path has
`/ng-rollout/ID` in front.

NeMo Gym's client does not ask again after an error. So a rollout without verdict is an answer with `_ng_failure_class` (its row
goes to the failures, and a resumed run repeats it) and with `mask_sample` (training leaves it out). A lost rollout delays
the others by at most half of the gateway's timeout.
"""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from reasrm.errors import EngineError
from reasrm.judging.group import MAX_RESPONSES, Group
from reasrm.types import Comparison
from reasrm_serving.cohorts.result import Reward, result_of
from reasrm_serving.errors import Problem, problem_of
from reasrm_serving.frameworks.common import JudgedRollout, fitted, rank_options, reward_number, rewards_for
from reasrm_serving.frameworks.gym_metrics import aggregate
from reasrm_serving.frameworks.query import RewardQuery, query_of
from reasrm_serving.frameworks.responses_api import input_question, output_response
from reasrm_serving.http.openapi import ERRORS, asks
from reasrm_serving.http.requests import read, unless_gone
from reasrm_serving.wiring import services_of

router = APIRouter(tags=["RL frameworks"])
FAILURE_CLASS = "judge_failed"


class CompareRequest(BaseModel):
    """A prompt's rollouts. Other keys are ignored, because the framework sends its own."""

    model_config = ConfigDict(frozen=True, extra="allow")
    conversation_history: list[dict[str, Any]]
    response_objs: list[dict[str, Any]] = Field(min_length=1, max_length=MAX_RESPONSES)
    principle: str | None = None


class VerifyRequest(BaseModel):
    """One rollout. Keys that the judge does not use come back in the answer."""

    model_config = ConfigDict(frozen=True, extra="allow")
    responses_create_params: dict[str, Any]
    response: dict[str, Any]
    principle: str | None = None
    group_id: str | int | None = Field(default=None, alias="_ng_group_id")
    group_attempt: int = Field(default=0, alias="_ng_group_attempt", ge=0)
    rollout_index: int | None = Field(default=None, alias="_ng_rollout_index")
    task_index: int | str | None = Field(default=None, alias="_ng_task_index")
    prompt_id: str | int | None = None

    @property
    def group(self) -> str:
        """The name of the rollout's group beside its prompt; "" where the framework gives none."""
        if self.group_id is not None:
            return f"group {self.group_id} attempt {self.group_attempt}"
        if self.task_index is not None:
            return f"task {self.task_index}"
        return "" if self.prompt_id is None else f"prompt {self.prompt_id}"

    @property
    def member(self) -> str | None:
        """The name of the rollout within its group, by which a retry is known; None where nothing names the group."""
        return None if self.rollout_index is None or not self.group else str(self.rollout_index)


class AggregateRequest(BaseModel):
    """The answers of `/verify`, stripped."""

    model_config = ConfigDict(frozen=True, extra="allow")
    verify_responses: list[dict[str, Any]]


_OUTPUT: dict[str, Any] = {"output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "5"}]}]}
_INPUT: list[dict[str, Any]] = [{"role": "user", "content": "What is 2 + 3?"}]
COMPARE: dict[str, Any] = {"two rollouts": {"value": {"conversation_history": _INPUT, "response_objs": [_OUTPUT, _OUTPUT]}}}
VERIFY: dict[str, Any] = {
    "one rollout": {
        "value": {
            "responses_create_params": {"input": _INPUT},
            "response": _OUTPUT,
            "_ng_group_id": "prompt-7",
            "_ng_group_attempt": 0,
            "_ng_rollout_index": 0,
        }
    }
}


@router.post("/compare", responses=ERRORS, openapi_extra=asks(CompareRequest, COMPARE))
async def compare(request: Request) -> Response:
    """Rewards and comparisons of a whole cohort; `?no_verdict=mean|null|error` (default mean)."""
    services, query = services_of(request), query_of(request)
    body = await read(request, CompareRequest)
    question = input_question(body.conversation_history, "conversation_history")
    responses = tuple(
        output_response(response, f"response_objs.{i}", query.thinking) for i, response in enumerate(body.response_objs)
    )
    group = Group(question=question, responses=responses, rubric=body.principle or None)
    within_s = min(query.timeout or services.settings.timeout_s, services.settings.timeout_s)
    info = await services.engines.now()
    options = fitted(rank_options(query, len(responses)), info.max_context)
    ranking = await unless_gone(request, services.ranker.rank(group, options, within_s))
    names = [str(index) for index in range(len(responses))]
    result = result_of(names, responses, ranking)
    answer = {
        "rewards": [reward_number(result.rewards[name], query.no_verdict, services, "nemo_gym", retries=False) for name in names],
        "comparison_results": [_comparison_result(comparison) for comparison in ranking.comparisons],
        "metrics": {
            "comparisons": len(ranking.comparisons),
            "no_verdict": sum(comparison.judgment.winner is None for comparison in ranking.comparisons),
            "completion_tokens": ranking.usage.completion_tokens,
            "seconds": ranking.seconds,
        },
    }
    return Response(orjson.dumps(answer), media_type="application/json")


@router.post("/verify", responses=ERRORS, openapi_extra=asks(VerifyRequest, VERIFY))
async def verify(request: Request) -> Response:
    """The reward of one rollout within its cohort: the request with `reward` added; `?cohort=N&wait=60&run=NAME`."""
    services = services_of(request)
    query = query_of(request, wait=min(3600.0, services.settings.timeout_s / 2))
    body = await read(request, VerifyRequest)
    params = body.responses_create_params
    question = input_question(params.get("input"), "responses_create_params.input", params.get("instructions"))
    response = output_response(body.response, "response", query.thinking)
    rollout = JudgedRollout(question, response, rubric=body.principle or None, group=body.group, member=body.member)
    rewarded = await _rewarded(request, query, rollout, services.settings.timeout_s)
    reward = reward_number(rewarded, query.no_verdict, services, "nemo_gym", retries=False)
    answer = body.model_dump(mode="json", by_alias=True, exclude_unset=True) | {"reward": reward, "no_verdict": rewarded.reason}
    return Response(orjson.dumps(answer | _failure(body, rewarded)), media_type="application/json")


@router.post("/seed_session")
async def seed_session() -> Response:
    """Agents call this before a rollout; there is nothing to prepare."""
    return Response(b"{}", media_type="application/json")


@router.post("/aggregate_metrics", responses=ERRORS, openapi_extra=asks(AggregateRequest, {}))
async def aggregate_metrics(request: Request) -> Response:
    """Statistics of many rollouts: per task, and of all."""
    body = await read(request, AggregateRequest)
    return Response(orjson.dumps(aggregate(body.verify_responses)), media_type="application/json")


@router.get("/reverify_mode")
async def reverify_mode() -> Response:
    """A rollout cannot be verified again by itself: its reward is relative to its group."""
    return Response(b'"unsupported"', media_type="application/json")


async def _rewarded(request: Request, query: RewardQuery, rollout: JudgedRollout, limit_s: float) -> Reward:
    """The rollout's reward; an outage is a reason, because the framework's client would not ask again."""
    try:
        [rewarded] = await unless_gone(request, rewards_for(request, query, [rollout], limit_s))
    except (Problem, EngineError, TimeoutError) as error:
        problem = problem_of(error)
        if problem.status not in (429, 503, 504) or query.no_verdict == "error":
            raise
        return Reward(None, reason=problem.type)
    return rewarded


def _failure(body: VerifyRequest, rewarded: Reward) -> dict[str, Any]:
    """The fields that mark a rollout without verdict for NeMo Gym and NeMo RL."""
    if rewarded.value is not None:
        return {}
    given: Any = (body.model_extra or {}).get("instance_config")
    return {
        "_ng_failure_class": FAILURE_CLASS,
        "_ng_failure_judge_error": rewarded.reason,
        "mask_sample": True,
        "instance_config": (given if isinstance(given, dict) else {}) | {"mask_sample": True},
    }


def _comparison_result(comparison: Comparison) -> dict[str, Any]:
    """One comparison as upstream reports it; scores and ranking are null where there is no verdict."""
    scores = genrm_scores(comparison.judgment.probability_a)
    return {"response_i": comparison.i, "response_j": comparison.j, "judge_idx": 0, **scores}


def genrm_scores(p: float | None) -> dict[str, float | None]:
    """P(the first is better) on the scales of a GenRM: scores in 1..5, a ranking in 1..6 (1: the first is much better)."""
    if p is None:
        return {"score_1": None, "score_2": None, "ranking": None}
    return {"score_1": 1.0 + 4.0 * p, "score_2": 5.0 - 4.0 * p, "ranking": 6.0 - 5.0 * p}
