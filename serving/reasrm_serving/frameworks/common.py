"""What every contract shares: how a run wants its rewards, where they come from, and what "no verdict" becomes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Request
from pydantic import Field, ValidationError

from reasrm.judging.group import MethodName, RankOptions
from reasrm.types import TRANSIENT, Frozen, Message
from reasrm_serving.auth.context import Caller, caller, principal
from reasrm_serving.cohorts.result import Reward, Terms, Text, method_for, result_of
from reasrm_serving.cohorts.store import SentBack, StoreUnavailable
from reasrm_serving.errors import Problem
from reasrm_serving.wiring import Services, services_of

#: What a rollout without a verdict gets. "null": null, where the framework drops such samples. "mean": the mean of its group's
#: judged rewards, so that a group-relative advantage is nought (the scale's zero where nobody could be judged for a lasting
#: reason); a passing failure is still an error. "error": always an error (503), which the framework's client retries.
NoVerdictIs = Literal["null", "mean", "error"]
HEADERS = {"x-cohort": "cohort", "x-run": "run"}


class Wishes(Frozen):
    """The query of a contract's address; `x-cohort` and `x-run` may be headers instead.

    `cohort`: how many rollouts of a prompt belong together. `run`: the training run, so that runs do not share cohorts.
    `wait`: seconds to wait for the cohort. `timeout`: seconds for everything. `reference`: "label" makes the label one.
    `hold`: when more rollouts of the run wait, the oldest are sent back with an early 503 and keep their places (0: never).
    """

    cohort: Annotated[int, Field(ge=1, le=64)] | None = None
    run: Annotated[str, Field(max_length=200)] = ""
    no_verdict: NoVerdictIs = "mean"
    method: MethodName | None = None
    orders: Literal["ab", "both"] = "ab"
    wait: Annotated[float, Field(gt=0, le=3600)] = 60.0
    timeout: Annotated[float, Field(gt=0, le=86400)] | None = None
    reference: Literal["label"] | None = None
    hold: Annotated[int, Field(ge=0, le=100_000)] = 0
    key: Annotated[str, Field(min_length=1, max_length=100)] | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """One response to be rewarded, as every contract's request comes down to."""

    question: Text
    response: Text
    reference: Text | None = None


def wishes_of(request: Request, no_verdict: NoVerdictIs, hold: int = 0) -> Wishes:
    """The wishes in the request's address and headers; `no_verdict` and `hold` are the contract's defaults.

    Raises `Problem` for a wrong one.
    """
    said: dict[str, str] = {name: request.headers[header] for header, name in HEADERS.items() if header in request.headers}
    try:
        wishes = Wishes.model_validate({"no_verdict": no_verdict, "hold": hold} | said | dict(request.query_params))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0])
        raise Problem(422, "invalid", f"?{field}: {first['msg']}", field) from None
    caller.set(Caller(wishes.run or None))
    return wishes


def text_of(value: Any, role: Literal["user", "assistant"], field: str) -> Text:
    """Messages as a question or a response. Raises `Problem` that names the field."""
    from reasrm.types import Pair

    try:
        probe = {"question": "q", "a": "a", "b": "b"} | ({"question": value} if role == "user" else {"a": value})
        pair = Pair.model_validate(probe)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        raise Problem(422, "invalid", f"{field}: {message}", field) from None
    return pair.question if role == "user" else pair.a


def reference_of(label: Any, wishes: Wishes) -> Text | None:
    """The label as a reference answer, where the wishes say that it is one; a number or a truth value as JSON writes it."""
    if wishes.reference is None:
        return None
    text = json.dumps(label) if isinstance(label, bool | int | float) else label
    if not isinstance(text, str) or not text.strip():
        raise Problem(422, "invalid", "?reference=label needs labels that are texts or numbers", "label")
    return (Message(role="assistant", content=text),)


async def rewards_for(request: Request, wishes: Wishes, rollouts: Sequence[Rollout], limit_s: float) -> list[Reward]:
    """A reward for each rollout, within `limit_s` (the framework's own patience): through cohorts, or as groups of this request."""
    services = services_of(request)
    clock = asyncio.get_running_loop().time
    deadline = clock() + min(wishes.timeout or limit_s, limit_s)
    info = await services.engines.now(deadline)
    context, total = info.max_context, deadline - clock()
    if wishes.cohort is not None:
        options = _options(wishes, wishes.cohort, context)
        wait = wishes.wait if wishes.hold else min(wishes.wait, total / 2)  # who comes again may wait for longer than one request
        terms = [_terms(each, wishes, options, wishes.cohort, wait, total) for each in rollouts]
        return await _from_cohorts(services, terms, rollouts)
    return await _grouped(services, wishes, rollouts, total, context)


async def _from_cohorts(services: Services, terms: Sequence[Terms], rollouts: Sequence[Rollout]) -> list[Reward]:
    """The rewards of rollouts that each belong to a cohort. Raises `Problem` (503) where the client should come again."""
    tasks = [
        asyncio.create_task(services.cohorts.reward(each, rollout.response)) for each, rollout in zip(terms, rollouts, strict=True)
    ]
    try:
        return await asyncio.gather(*tasks)
    except SentBack as error:
        why = f"{error}; this rollout keeps its place: ask again (with &hold=0 in the address rollouts are not sent back)"
        raise Problem(503, "waiting", why, headers={"retry-after": "1"}) from None
    except StoreUnavailable as error:
        raise Problem(503, "cohorts_unavailable", f"{error}; ask again", headers={"retry-after": "2"}) from None
    finally:
        for task in tasks:
            task.cancel()


def _options(wishes: Wishes, size: int, context: int) -> RankOptions:
    options = method_for(size) if wishes.method is None else RankOptions(method=wishes.method)
    longest = max(1, min(options.max_tokens, context // 2)) if context else options.max_tokens
    return options.model_copy(update={"orders": wishes.orders, "max_tokens": longest})


def _terms(rollout: Rollout, wishes: Wishes, options: RankOptions, size: int, wait_s: float, total_s: float) -> Terms:
    name = principal.get().name
    run = f"{name}\0{wishes.run}" if name else wishes.run  # another key's rollouts are none of this run's
    judge_s = max(total_s - wait_s, total_s / 2)
    return Terms(rollout.question, size, options, run, wait_s, judge_s, rollout.reference, patience_s=total_s, hold=wishes.hold)


async def _grouped(services: Services, wishes: Wishes, rollouts: Sequence[Rollout], within_s: float, context: int) -> list[Reward]:
    """Rollouts of the same prompt within one request are a group; one alone needs a reference or a cohort."""
    groups: dict[tuple[Text, Text | None], list[int]] = {}
    for index, each in enumerate(rollouts):
        groups.setdefault((each.question, each.reference), []).append(index)
    if any(len(members) == 1 and reference is None for (_, reference), members in groups.items()):
        raise Problem(
            422,
            "alone",
            "a pairwise judge has nothing to compare a lone response with: add ?cohort=N (rollouts per prompt) or ?reference=label "
            "to the address",
            "cohort",
        )
    if any(len(members) > 64 for members in groups.values()):
        raise Problem(422, "invalid", "at most 64 responses to one prompt at once", "query")

    async def ranked(place: tuple[Text, Text | None], members: list[int]) -> list[Reward]:
        options = _options(wishes, len(members), context)
        terms = _terms(rollouts[members[0]], wishes, options, len(members), within_s, within_s)
        responses = tuple(rollouts[index].response for index in members)
        ranking = await services.ranker.rank(terms.group(responses), options, within_s)
        names = [str(index) for index in members]
        result = result_of(names, responses, ranking)
        return [result.rewards[name] for name in names]

    results = await asyncio.gather(*(ranked(place, members) for place, members in groups.items()))
    found = {
        index: reward
        for members, rewards in zip(groups.values(), results, strict=True)
        for index, reward in zip(members, rewards, strict=True)
    }
    return [found[index] for index in range(len(rollouts))]


def settled(reward: Reward, how: NoVerdictIs, services: Services, contract: str) -> float | None:
    """The number (or null) that stands for `reward`, counted. Raises `Problem` (503) where no verdict is an error."""
    services.metrics.rewards.labels(contract, reward.reason or "judged").inc()
    if reward.value is not None or how == "null":
        return reward.value
    if how == "error" or reward.reason in TRANSIENT:
        why = f"there is no verdict for this response: {reward.reason}"
        raise Problem(503, "no_verdict", why, more={"reason": reward.reason}, headers={"retry-after": "2"})
    return reward.mean if reward.mean is not None else 0.0
