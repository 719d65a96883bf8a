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
from reasrm.types import Comparison
from reasrm_serving.contracts.asking import Rollout, rewards_for, settled, text_of, wishes_of
from reasrm_serving.openapi import ERRORS, asks
from reasrm_serving.problems import Problem
from reasrm_serving.rewards import Text, method_for, result_of
from reasrm_serving.routes.reading import read, unless_gone
from reasrm_serving.services import services_of

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
    question = text_of(_messages(asked.conversation_history), "user", "conversation_history")
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
    said = asked.responses_create_params.get("input")
    question = said if isinstance(said, str) else _messages(said or [])
    rollout = Rollout(text_of(question, "user", "responses_create_params.input"), _response(asked.response, "response"))
    [found] = await unless_gone(request, rewards_for(request, wishes, [rollout], services.settings.timeout_s))
    reward = settled(found, wishes.no_verdict, services, "nemo_gym")
    body = asked.model_dump(mode="json") | {"reward": reward, "no_verdict": found.reason}
    return Response(orjson.dumps(body), media_type="application/json")


def text_in(response: Mapping[str, Any]) -> str:
    """The text of a Responses object: its output messages, without reasoning and calls. Raises `Problem` where it has no output."""
    output = response.get("output")
    if not isinstance(output, list):
        raise Problem(422, "invalid", 'a response object has an "output" list', "response")
    items = cast("Sequence[Mapping[str, Any]]", output)
    return "\n".join(part for item in items if item.get("type", "message") == "message" for part in _parts(item.get("content")))


def _response(response: Mapping[str, Any], field: str) -> Text:
    return text_of(text_in(response) or EMPTY, "assistant", field)


def _messages(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    roles = {"developer": "system"}
    return [
        {"role": roles.get(str(turn.get("role")), turn.get("role")), "content": "\n".join(_parts(turn.get("content")))}
        for turn in history
    ]


def _parts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    parts = cast("Sequence[Mapping[str, Any]]", content) if isinstance(content, list) else ()
    return [str(part.get("text", "")) for part in parts]


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
