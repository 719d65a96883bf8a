"""NeMo Gym's genrm_compare: `/compare` takes a prompt's whole cohort, `/verify?cohort=N` one rollout at a time.

`response_objs` are OpenAI Responses objects; what counts is the text of their output messages. Rewards are those of the fit; each
comparison also gets scores in 1..5 and a ranking in 1..6 (1: the first is much better) as the upstream server gives them.
Upstream has no deadline for a cohort; here a lost rollout costs the others `?wait=` seconds at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from reasrm.judging.group import EMPTY, Group, RankOptions
from reasrm.messages import text_in
from reasrm.types import Comparison
from reasrm_serving.cohorts.result import Text, method_for, result_of
from reasrm_serving.errors import Problem
from reasrm_serving.frameworks.common import Rollout, rewards_for, settled, text_of, wishes_of
from reasrm_serving.http.openapi import ERRORS, asks
from reasrm_serving.http.requests import read, unless_gone
from reasrm_serving.wiring import services_of

router = APIRouter(tags=["RL frameworks"])


class Compare(BaseModel):
    """A prompt's rollouts. Keys beside these are left alone: the framework sends its own along."""

    model_config = ConfigDict(frozen=True, extra="allow")
    conversation_history: list[dict[str, Any]]
    response_objs: list[dict[str, Any]] = Field(min_length=1, max_length=64)
    principle: str | None = None


class Verify(BaseModel):
    """One rollout."""

    model_config = ConfigDict(frozen=True, extra="allow")
    responses_create_params: dict[str, Any]
    response: dict[str, Any]


_OUTPUT: dict[str, Any] = {"output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "5"}]}]}
_ASKED: list[dict[str, Any]] = [{"role": "user", "content": "What is 2 + 3?"}]
COMPARE: dict[str, Any] = {"two rollouts": {"value": {"conversation_history": _ASKED, "response_objs": [_OUTPUT, _OUTPUT]}}}
VERIFY: dict[str, Any] = {"one rollout": {"value": {"responses_create_params": {"input": _ASKED}, "response": _OUTPUT}}}


@router.post("/compare", responses=ERRORS, openapi_extra=asks(Compare, COMPARE))
async def compare(request: Request) -> Response:
    """Rewards and comparisons of a whole cohort; `?no_verdict=mean|null|error` (default mean)."""
    services, wishes = services_of(request), wishes_of(request, "mean")
    asked = await read(request, Compare)
    question = _question(asked.conversation_history, "conversation_history")
    responses = tuple(_response(each, f"response_objs.{i}") for i, each in enumerate(asked.response_objs))
    group = Group(question=question, responses=responses, rubric=asked.principle or None)
    options = method_for(len(responses)) if wishes.method is None else RankOptions(method=wishes.method)
    options = options.model_copy(update={"orders": wishes.orders})
    within = min(wishes.timeout or services.settings.timeout_s, services.settings.timeout_s)
    ranking = await unless_gone(request, services.ranker.rank(group, options, within))
    names = [str(index) for index in range(len(responses))]
    result = result_of(names, responses, ranking)
    rewards = [settled(result.rewards[name], wishes.no_verdict, services, "nemo_gym") for name in names]
    body = {
        "rewards": rewards,
        "comparison_results": [_compared(each) for each in ranking.comparisons],
        "metrics": {
            "comparisons": len(ranking.comparisons),
            "no_verdict": sum(each.judgment.winner is None for each in ranking.comparisons),
            "completion_tokens": ranking.usage.completion_tokens,
            "seconds": ranking.seconds,
        },
    }
    return Response(orjson.dumps(body), media_type="application/json")


@router.post("/verify", responses=ERRORS, openapi_extra=asks(Verify, VERIFY))
async def verify(request: Request) -> Response:
    """The reward of one rollout within its cohort: the request with `reward` added; `?cohort=N&wait=60&run=NAME`."""
    services, wishes = services_of(request), wishes_of(request, "mean")
    asked = await read(request, Verify)
    question = _question(asked.responses_create_params.get("input"), "responses_create_params.input")
    rollout = Rollout(question, _response(asked.response, "response"))
    [found] = await unless_gone(request, rewards_for(request, wishes, [rollout], services.settings.timeout_s))
    reward = settled(found, wishes.no_verdict, services, "nemo_gym")
    body = asked.model_dump(mode="json") | {"reward": reward, "no_verdict": found.reason}
    return Response(orjson.dumps(body), media_type="application/json")


def _response(response: Mapping[str, Any], field: str) -> Text:
    """A Responses object's text: its output messages, without reasoning and calls. Raises `Problem` where it has no output."""
    items = _items(response.get("output"), f"{field}.output")
    texts = [text_in(item.get("content")) for item in items if item.get("type", "message") == "message"]
    return text_of("\n".join(filter(None, texts)) or EMPTY, "assistant", field)


def _question(said: Any, field: str) -> Text:
    """A Responses input: a text, or items. Raises `Problem` that names `field`."""
    if isinstance(said, str):
        return text_of(said, "user", field)
    return text_of([_turn(item) for item in _items(said, field) if item.get("type") != "reasoning"], "user", field)


def _turn(item: Mapping[str, Any]) -> dict[str, Any]:
    """One item of a Responses input as a message."""
    match item.get("type"):
        case "function_call":
            return {"role": "assistant", "tool_calls": [{"name": item.get("name"), "arguments": item.get("arguments", "{}")}]}
        case "function_call_output":
            return {"role": "tool", "content": text_in(item.get("output"))}
        case _:
            role = item.get("role")
            return {"role": "system" if role == "developer" else role, "content": text_in(item.get("content"))}


def _items(value: Any, field: str) -> Sequence[Mapping[str, Any]]:
    items = cast("list[Any]", value) if isinstance(value, list) else None
    if items is None or not all(isinstance(item, dict) for item in items):
        raise Problem(422, "invalid", f"{field} must be a list of objects, as in OpenAI's Responses API", field)
    return items


def _compared(comparison: Comparison) -> dict[str, Any]:
    """One comparison as upstream reports it; scores and ranking are null where there is no verdict."""
    p = comparison.judgment.probability_a
    return {
        "response_i": comparison.i,
        "response_j": comparison.j,
        "judge_idx": 0,
        "score_1": None if p is None else 1.0 + 4.0 * p,
        "score_2": None if p is None else 5.0 - 4.0 * p,
        "ranking": None if p is None else 6.0 - 5.0 * p,
    }
