"""The terms of a cohort, and its result: a reward for each rollout, or the reason why it has none."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from reasrm.judging.group import Group, RankOptions, Totals
from reasrm.judging.swiss import readings_needed
from reasrm.types import TRANSIENT, Message, NoVerdict, Ranking

Text = tuple[Message, ...]
_END = Message(role="tool")


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms that rollouts of one cohort share: the training run, the prompt, the size, the way of ranking.

    `group_id` is the caller's own name of the group, if it has one, so that several groups of one prompt stay separate.
    `wait_s` bounds the time in which the cohort gathers, `judge_s` the judging after it. `patience_s` is how long a caller waits
    for its answer (default: both together). `hold`: when more rollouts of the run than that wait, the oldest are sent back for a
    while (0: never). None of these four times and bounds is part of the cohort's name.
    """

    question: Text
    size: int
    options: RankOptions
    run: str = ""
    wait_s: float = 60.0
    judge_s: float = 100.0
    reference: Text | None = None
    rubric: str | None = None
    group_id: str = ""
    patience_s: float | None = None
    hold: int = 0

    def name(self, judge: str) -> str:
        """The cohort's name: equal in every process for equal terms and an equal `judge` (see `SharedJudge.identity`)."""
        parts = [judge, self.run, self.group_id, str(self.size), self.rubric or "", self.options.model_dump_json()]
        texts = [message.model_dump_json() for text in (self.question, self.reference or ()) for message in (*text, _END)]
        return hashlib.blake2b("\0".join((*parts, *texts)).encode(errors="surrogatepass"), digest_size=16).hexdigest()

    def group(self, responses: tuple[Text, ...], reference: Text | None = None) -> Group:
        """Responses to this prompt."""
        reference = reference or self.reference
        return Group(question=self.question, responses=responses, reference=reference, rubric=self.rubric)


def method_for(size: int) -> RankOptions:
    """The default for a cohort: all pairs, which can start before the cohort is complete, unless adaptive rounds cost less."""
    return RankOptions(method="all_pairs" if size > 2 and size * (size - 1) // 2 <= readings_needed(size) else "swiss")


@dataclass(frozen=True, slots=True)
class Reward:
    """The reward of a rollout with its standard error, or None and the reason why.

    `mean` is that of its group's judged rollouts (equal texts count as often as they came), `spread` the difference of the best and
    the worst of these, `rollouts` how many were judged together. `totals` are those of the ranking.
    """

    value: float | None
    stderr: float | None = None
    reason: str | None = None
    mean: float | None = None
    totals: Totals | None = None
    spread: float | None = None
    rollouts: int = 1

    def pack(self) -> bytes:
        """As JSON."""
        totals = None if self.totals is None else self.totals.model_dump()
        return packed((self.value, self.stderr, self.reason, self.mean, totals, self.spread, self.rollouts))

    @classmethod
    def unpack(cls, stored: bytes) -> Reward:
        """What `pack` packed."""
        value, stderr, reason, mean, totals, spread, rollouts = orjson.loads(stored)
        return cls(value, stderr, reason, mean, None if totals is None else Totals.model_validate(totals), spread, rollouts)


@dataclass(frozen=True, slots=True)
class Pivot:
    """The middle response of a ranked cohort with its reward: rollouts that come too late are judged against it.

    `value` is None where the cohort was a single response, compared with no other.
    """

    key: str
    text: Text
    value: float | None
    mean: float | None = None

    def pack(self) -> bytes:
        """As JSON."""
        return packed((self.key, pack_text(self.text).decode(), self.value, self.mean))

    @classmethod
    def unpack(cls, stored: bytes) -> Pivot:
        """What `pack` packed."""
        key, text, value, mean = orjson.loads(stored)
        return cls(key, unpack_text(text), value, mean)


@dataclass(frozen=True, slots=True)
class Result:
    """A ranked cohort: rewards by the key of the text, and the pivot. `failure` stands for all of them where it is not None."""

    rewards: dict[str, Reward] = field(default_factory=dict[str, Reward])
    pivot: Pivot | None = None
    failure: Reward | None = None


def packed(body: Any) -> bytes:
    """As JSON, copied: the bytes that orjson returns keep its whole buffer of 8 KB alive."""
    return bytes(memoryview(orjson.dumps(body)))


def pack_text(text: Text) -> bytes:
    """A response as JSON."""
    return packed([message.model_dump(mode="json", exclude_defaults=True) | {"role": message.role} for message in text])


def unpack_text(stored: bytes | str) -> Text:
    """What `pack_text` packed."""
    return tuple(Message.model_validate(message) for message in orjson.loads(stored))


def result_of(keys: Sequence[str], responses: tuple[Text, ...], ranking: Ranking, counts: Sequence[int] | None = None) -> Result:
    """Rewards by key, for a ranking of `responses`; `counts` says how many rollouts have each text (default: one).

    If a comparison failed for a passing reason, no rollout has a reward, because the remaining comparisons would give different
    rewards.
    """
    counts, totals = counts or [1] * len(keys), Totals.of(ranking)
    if reason := failure_in(ranking):
        failure = Reward(None, reason=reason, totals=totals, rollouts=sum(counts))
        return Result(dict.fromkeys(keys, failure), failure=failure)
    judged = [(value, count) for value, count in zip(ranking.rewards, counts, strict=True) if value is not None]
    mean = sum(value * count for value, count in judged) / sum(count for _, count in judged) if judged else None
    spread = max(value for value, _ in judged) - min(value for value, _ in judged) if judged else None
    rewards: dict[str, Reward] = {}
    for key, standing in zip(keys, ranking.standings, strict=True):
        reason = None if standing.reward is not None else why_none(ranking, standing.index)
        rewards[key] = Reward(standing.reward, standing.stderr, reason, mean, totals, spread, sum(counts))
    if not ranking.order:
        return Result(rewards)
    middle = ranking.order[len(ranking.order) // 2]
    return Result(rewards, Pivot(keys[middle], responses[middle], ranking.rewards[middle] or 0.0, mean))


def failure_in(ranking: Ranking) -> str | None:
    """The passing reason for which a comparison has no verdict, if one has none."""
    outcomes = (comparison.judgment.outcome for comparison in ranking.comparisons)
    return next((outcome.reason for outcome in outcomes if isinstance(outcome, NoVerdict) and outcome.reason in TRANSIENT), None)


def why_none(ranking: Ranking, index: int) -> str:
    """Why a response has no reward: the first reason of its comparisons; "alone" where it had none."""
    outcomes = [comparison.judgment.outcome for comparison in ranking.comparisons if index in (comparison.i, comparison.j)]
    return next((outcome.reason for outcome in outcomes if isinstance(outcome, NoVerdict)), "alone")
