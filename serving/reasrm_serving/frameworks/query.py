"""The query parameters of a framework's address: the options of a run's rewards.

Frameworks take nothing but an address, so a run's options stand in its query (`?cohort=8&run=NAME`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Request
from pydantic import Field, ValidationError

from reasrm.judging.group import MAX_RESPONSES, MethodName
from reasrm.rewards.thinking import Thinking
from reasrm.types import Frozen
from reasrm_serving.auth.context import Caller, caller
from reasrm_serving.errors import Problem
from reasrm_serving.wiring import services_of

#: The answer for a rollout without a verdict. "null": null, for frameworks that drop such samples. "mean": the mean of its group's
#: judged rewards, so that a group-relative advantage is zero (the scale's middle, 0, where nobody could be judged for a lasting
#: reason); a passing failure is still an error. "error": always an error (503), which the framework's client retries.
NoVerdictIs = Literal["null", "mean", "error"]
HEADERS = {"x-cohort": "cohort", "x-run": "run"}


class RewardQuery(Frozen):
    """The query parameters of a framework's address; `x-cohort` and `x-run` may be headers instead.

    `cohort`: how many rollouts of a prompt belong together; the operator may set a default (`reasrm serve --cohort`). `run`: the
    training run, so that runs do not share cohorts. `wait`: seconds to wait for the cohort. `timeout`: seconds for the whole
    request. `reference`: "label" makes the label a reference answer. `thinking`: whether the policy's thoughts are left out
    ("strip") or judged ("keep"). `hold`: when more rollouts of the run wait, the oldest are sent back with an early 503 and keep
    their places (0: never). `method`, `orders`: how groups are ranked; `reasoning`: "off" compares at a glance. `key`: the name of
    the reward in slime's answer.
    """

    cohort: Annotated[int, Field(ge=1, le=MAX_RESPONSES)] | None = None
    run: Annotated[str, Field(max_length=200)] = ""
    no_verdict: NoVerdictIs = "mean"
    method: MethodName | None = None
    orders: Literal["ab", "both"] = "ab"
    reasoning: Literal["on", "off"] | None = None
    wait: Annotated[float, Field(gt=0, le=3600)] = 60.0
    timeout: Annotated[float, Field(gt=0, le=86400)] | None = None
    reference: Literal["label"] | None = None
    thinking: Thinking = "strip"
    hold: Annotated[int, Field(ge=0, le=100_000)] = 0
    key: Annotated[str, Field(min_length=1, max_length=100)] | None = None


def query_of(request: Request, **defaults: Any) -> RewardQuery:
    """The query parameters and headers of `request`, over a framework's own `defaults`. Raises `Problem` for a wrong one."""
    headers: dict[str, str] = {name: request.headers[header] for header, name in HEADERS.items() if header in request.headers}
    operators: dict[str, Any] = {"cohort": services_of(request).settings.cohort}
    try:
        query = RewardQuery.model_validate(operators | defaults | headers | dict(request.query_params))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0])
        names = ", ".join(RewardQuery.model_fields)
        message = f"no such query parameter; there are {names}" if first["type"] == "extra_forbidden" else first["msg"]
        raise Problem(422, "invalid", f"?{field}: {message}", field) from None
    caller.set(Caller(query.run or None))
    return query
