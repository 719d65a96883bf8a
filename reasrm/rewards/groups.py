"""The requests of every reward function: the rewards of a whole group, or of one rollout of a group that is spread over processes.

One policy for failures: an outage, or a row that cannot be judged, gives no reward; its reason is logged and counted. A mistake of
the caller (an option that does not exist, a wrong key, a wrong address) raises, because every further step would be lost to it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from reasrm import failures
from reasrm.client import Judge, checked
from reasrm.client.options import check_rank_fields
from reasrm.errors import ConfigurationError, GatewayError, InputError
from reasrm.judging.group import MAX_RESPONSES, RankOptions, Rewarded, Totals, key_of
from reasrm.types import TRANSIENT, Message, NoVerdict, Ranking, Response

log = logging.getLogger("reasrm.rewards")
_RESPONSE = TypeAdapter[tuple[Message, ...]](Response)


@dataclass(frozen=True, slots=True)
class GroupOptions:
    """How groups are ranked, whether a group is whole in this process or gathered by the gateway."""

    fields: Mapping[str, Any]

    @classmethod
    def of(cls, options: Mapping[str, Any] | None) -> GroupOptions:
        """The options of a reward function: fields of `POST /v1/rank`. Raises `InputError` that names a wrong one."""
        given = {name: value for name, value in (options or {}).items() if name != "replies"}  # not needed here
        check_rank_fields(given)
        for name in ("reference", "run", "subset"):
            if name in given:
                raise ConfigurationError(f"{name!r} is no option of a reward function: it has an argument of its own", field=name)
        return cls({"method": RankOptions().method} | given)


def check_group(size: int | None, name: str) -> None:
    """Raise `ConfigurationError` where no group can have `size` rollouts."""
    if size is not None and not 1 <= size <= MAX_RESPONSES:
        raise ConfigurationError(f"{name} must lie within 1 and {MAX_RESPONSES}, not {size}", field=name)


async def rank_group(
    judge: Judge, question: Any, responses: Sequence[Any], options: GroupOptions, reference: Any = None
) -> list[Rewarded]:
    """A reward for each of a group's `responses`, or the reason why there is none. Raises for the caller's mistakes.

    Each text is ranked once, in an order that depends on the texts only, as in the gateway's cohorts. So a group gets the same
    rewards whether it is whole here or not.
    """
    fields: dict[str, Any] = {"replies": False, **options.fields} | ({} if reference is None else {"reference": reference})
    try:
        keys = [key_of(checked(_RESPONSE.validate_python, response)) for response in responses]
        by_key = dict(sorted(zip(keys, responses, strict=True), key=lambda item: item[0]))
        ranking = await judge.rank(question, list(by_key.values()), **fields)
    except ConfigurationError:
        raise
    except (GatewayError, InputError) as error:
        return [_failed(error, "a group")] * len(responses)
    totals, failure = Totals.of(ranking), _transient(ranking)
    if failure is not None:  # the rewards of the remaining responses would differ
        return [Rewarded(reward=None, no_verdict=failure, totals=totals)] * len(responses)
    standings = dict(zip(by_key, ranking.standings, strict=True))
    rewards = [standings[key].reward for key in keys]
    known = [reward for reward in rewards if reward is not None]
    mean = sum(known) / len(known) if known else None
    return [
        Rewarded(
            reward=reward,
            stderr=standings[key].stderr,
            mean=mean,
            no_verdict=None if reward is not None else _why(ranking, standings[key].index),
            totals=totals,
        )
        for key, reward in zip(keys, rewards, strict=True)
    ]


async def reward_rollout(judge: Judge, question: Any, response: Any, options: GroupOptions, **cohort: Any) -> Rewarded:
    """The reward of one rollout within its `cohort` (the fields of `POST /v1/reward`). Raises for the caller's mistakes."""
    try:
        fields: dict[str, Any] = {**options.fields, **cohort, "thinking": "keep"}  # already removed here, if at all
        return await judge.reward(question, response, **fields)
    except ConfigurationError:
        raise
    except (GatewayError, InputError) as error:
        return _failed(error, "a rollout")


def _failed(error: GatewayError | InputError, what: str) -> Rewarded:
    log.warning("%s has no reward: %s", what, error)
    kind = failures.reason_of(error) or "refused"
    return Rewarded(reward=None, no_verdict=f"{kind}: {error}")


def reason_of(rewarded: Rewarded) -> str:
    """The reason as one word for counting: one of `reasrm.types.Reason`, or "refused" for an invalid rollout."""
    return (rewarded.no_verdict or "unknown").partition(":")[0]


def _transient(ranking: Ranking) -> str | None:
    outcomes = (comparison.judgment.outcome for comparison in ranking.comparisons)
    reasons = (outcome.reason for outcome in outcomes if isinstance(outcome, NoVerdict))
    return next((reason for reason in reasons if reason in TRANSIENT), None)


def _why(ranking: Ranking, index: int) -> str:
    outcomes = [comparison.judgment.outcome for comparison in ranking.comparisons if index in (comparison.i, comparison.j)]
    return next((outcome.reason for outcome in outcomes if isinstance(outcome, NoVerdict)), "alone")
