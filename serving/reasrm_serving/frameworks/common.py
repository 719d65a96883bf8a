"""What every framework's route shares: reading texts, getting rewards, and the answer for no verdict."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from fastapi import Request
from pydantic import TypeAdapter, ValidationError

from reasrm.judging.group import MAX_RESPONSES, RankOptions
from reasrm.rewards.texts import response_of
from reasrm.types import TRANSIENT, Message, Options, Question
from reasrm.types import Response as Trajectory
from reasrm_serving.auth.context import principal
from reasrm_serving.cohorts.result import Reward, Terms, Text, method_for, result_of
from reasrm_serving.cohorts.store import SentBack, StoreUnavailable
from reasrm_serving.errors import Problem
from reasrm_serving.frameworks.query import NoVerdictIs, RewardQuery
from reasrm_serving.wiring import Services, services_of

AnyOptions = TypeVar("AnyOptions", bound=Options)
_QUESTION, _RESPONSE = TypeAdapter[Text](Question), TypeAdapter[Text](Trajectory)


@dataclass(frozen=True, slots=True)
class JudgedRollout:
    """One response to reward, as read from any framework's request.

    `group` and `member` are the caller's own names of its group and of the rollout in it, if it gives any.
    """

    question: Text
    response: Text
    reference: Text | None = None
    rubric: str | None = None
    group: str = ""
    member: str | None = None


def question_text(value: Any, field: str) -> Text:
    """Messages, or a text, as a question. Raises `Problem` that names the field."""
    return _checked(_QUESTION, value, field)


def response_text(value: Any, field: str) -> Text:
    """Messages, or a text, as a response. Raises `Problem` that names the field."""
    return _checked(_RESPONSE, value, field)


def _checked(adapter: TypeAdapter[Text], value: Any, field: str) -> Text:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        message = error.errors(include_url=False, include_input=False)[0]["msg"].removeprefix("Value error, ")
        raise Problem(422, "invalid", f"{field}: {message}", field) from None


def reference_of(label: Any, query: RewardQuery) -> Text | None:
    """The label as a reference answer, if the query says so; a number or a truth value as JSON writes it."""
    if query.reference is None:
        return None
    text = json.dumps(label) if isinstance(label, bool | int | float) else label
    if not isinstance(text, str) or not text.strip():
        raise Problem(422, "invalid", "?reference=label needs labels that are texts or numbers", "label")
    return (Message(role="assistant", content=response_of(text, thinking=query.thinking)),)


async def rewards_for(
    request: Request, query: RewardQuery, rollouts: Sequence[JudgedRollout], limit_s: float, options: RankOptions | None = None
) -> list[Reward]:
    """A reward for each rollout, within `limit_s` (the framework's own patience): through cohorts, or as groups of this request.

    `options` say how groups are ranked, if the request states more than the query.
    """
    services = services_of(request)
    clock = asyncio.get_running_loop().time
    deadline = clock() + min(query.timeout or limit_s, limit_s)
    info = await services.engines.now(deadline)
    context, total = info.max_context, deadline - clock()
    if query.cohort is None:
        return await _grouped(services, query, rollouts, total, context)
    ranked_by = fitted(options or rank_options(query, query.cohort), context)
    wait = query.wait if query.hold else min(query.wait, total / 2)  # with retries a caller may wait longer
    terms = [_terms(rollout, query, ranked_by, query.cohort, wait, total) for rollout in rollouts]
    return await _from_cohorts(services, terms, rollouts)


async def _from_cohorts(services: Services, terms: Sequence[Terms], rollouts: Sequence[JudgedRollout]) -> list[Reward]:
    """The rewards of rollouts that each belong to a cohort. Raises `Problem` (503) where the client should come again."""
    tasks = [
        asyncio.create_task(services.cohorts.reward(term, rollout.response, rollout.member))
        for term, rollout in zip(terms, rollouts, strict=True)
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


def rank_options(query: RewardQuery, size: int) -> RankOptions:
    """How a group of `size` is ranked, as the query says."""
    options = method_for(size) if query.method is None else RankOptions(method=query.method)
    return options.model_copy(update={"orders": query.orders, "reasoning": query.reasoning})


def fitted(options: AnyOptions, context: int) -> AnyOptions:
    """`options` with a reply length that fits the engine's `context` window (0: unknown), unless they set one."""
    if not context or "max_tokens" in options.model_fields_set:
        return options
    return options.model_copy(update={"max_tokens": max(1, min(options.max_tokens, context // 2))})


def _terms(rollout: JudgedRollout, query: RewardQuery, options: RankOptions, size: int, wait_s: float, total_s: float) -> Terms:
    name = principal.get().name
    return Terms(
        question=rollout.question,
        size=size,
        options=options,
        run=f"{name}\0{query.run}" if name else query.run,  # another key's rollouts never belong to this run
        wait_s=wait_s,
        judge_s=max(total_s - wait_s, total_s / 2),
        reference=rollout.reference,
        rubric=rollout.rubric,
        group_id=rollout.group,
        patience_s=total_s,
        hold=query.hold,
    )


async def _grouped(
    services: Services, query: RewardQuery, rollouts: Sequence[JudgedRollout], within_s: float, context: int
) -> list[Reward]:
    """Rollouts of the same prompt within one request are a group; one alone needs a reference or a cohort."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, rollout in enumerate(rollouts):
        groups.setdefault((rollout.question, rollout.reference, rollout.rubric, rollout.group), []).append(index)
    if any(len(members) == 1 and rollouts[members[0]].reference is None for members in groups.values()):
        raise Problem(
            422,
            "alone",
            "a pairwise judge has nothing to compare a lone response with: add ?cohort=N (rollouts per prompt) or ?reference=label "
            "to the address, or start the gateway with --cohort N",
            "cohort",
        )
    if any(len(members) > MAX_RESPONSES for members in groups.values()):
        raise Problem(422, "invalid", f"at most {MAX_RESPONSES} responses to one prompt at once", "query")

    async def ranked(members: list[int]) -> list[Reward]:
        options = fitted(rank_options(query, len(members)), context)
        terms = _terms(rollouts[members[0]], query, options, len(members), within_s, within_s)
        responses = tuple(rollouts[index].response for index in members)
        ranking = await services.ranker.rank(terms.group(responses), options, within_s)
        names = [str(index) for index in members]
        result = result_of(names, responses, ranking)
        return [result.rewards[name] for name in names]

    rewards: dict[int, Reward] = {}
    for members, group in zip(groups.values(), await asyncio.gather(*map(ranked, groups.values())), strict=True):
        rewards |= dict(zip(members, group, strict=True))
    return [rewards[index] for index in range(len(rollouts))]


def reward_number(
    reward: Reward, how: NoVerdictIs, services: Services, framework: Literal["native", "nemo_gym", "openrlhf", "slime"], *,
    retries: bool = True,
) -> float | None:  # fmt: skip
    """The number (or null) that the framework gets for `reward`; counts it.

    Raises `Problem` (503) where no verdict is an error, and for a passing failure if the framework's client `retries`.
    """
    services.metrics.rewards.labels(framework, reward.reason or "judged").inc()
    if reward.value is not None or how == "null":
        return reward.value
    if how == "error" or (retries and reward.reason in TRANSIENT):
        why = f"there is no verdict for this response: {reward.reason}"
        raise Problem(503, "no_verdict", why, more={"reason": reward.reason}, headers={"retry-after": "2"})
    return reward.mean if reward.mean is not None else 0.0
