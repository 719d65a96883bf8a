"""A cohort's terms, and what becomes of it: a reward a rollout, or the reason why it has none."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from reasrm.judging.group import Group, RankOptions, Totals
from reasrm.judging.swiss import readings_needed
from reasrm.types import TRANSIENT, Message, NoVerdict, Ranking

Text = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Terms:
    """What makes rollouts one cohort: the training run, the prompt, how many belong together, how they are ranked.

    `wait_s` bounds the waiting for the others, `judge_s` the judging after it.
    """

    question: Text
    size: int
    options: RankOptions
    run: str = ""
    wait_s: float = 60.0
    judge_s: float = 100.0
    reference: Text | None = None
    rubric: str | None = None

    @property
    def table(self) -> str:
        """The cohort's name: equal for equal terms, in every process."""
        parts = [self.run, str(self.size), self.rubric or "", self.options.model_dump_json()]
        texts = [message.model_dump_json() for text in (self.question, self.reference or ()) for message in (*text, _END)]
        return hashlib.blake2b("\0".join((*parts, *texts)).encode(errors="surrogatepass"), digest_size=16).hexdigest()

    def group(self, responses: tuple[Text, ...], reference: Text | None = None) -> Group:
        """Responses to this prompt."""
        reference = reference or self.reference
        return Group(question=self.question, responses=responses, reference=reference, rubric=self.rubric)


_END = Message(role="tool")


def method_for(size: int) -> RankOptions:
    """The default for a cohort: all pairs, which can start before all are there, unless adaptive rounds cost less."""
    return RankOptions(method="all_pairs" if size > 2 and size * (size - 1) // 2 <= readings_needed(size) else "swiss")


@dataclass(frozen=True, slots=True)
class Reward:
    """A rollout's reward with its standard error, or None and the reason why; `mean` is that of its group's judged rewards.

    `totals` are those of the ranking that it comes from.
    """

    value: float | None
    stderr: float | None = None
    reason: str | None = None
    mean: float | None = None
    totals: Totals | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A ranked cohort: rewards by name, and its `pivot`, the middle response, whose reward is `pivot_reward`; ranked `at`, in s.

    `totals` are the cohort's, None where nothing was ranked.
    """

    rewards: dict[str, Reward]
    pivot: Text | None = None
    pivot_reward: float = 0.0
    totals: Totals | None = None
    at: float = field(default_factory=time.time)

    def reward(self, name: str) -> Reward | None:
        """The reward of who is called so, with the cohort's totals; None where nobody is."""
        found = self.rewards.get(name)
        return None if found is None else replace(found, totals=self.totals)

    def pack(self) -> bytes:
        """As JSON."""
        rewards = {name: (each.value, each.stderr, each.reason, each.mean) for name, each in self.rewards.items()}
        pivot = None if self.pivot is None else pack_text(self.pivot).decode()
        totals = None if self.totals is None else self.totals.model_dump()
        return _tight({"rewards": rewards, "pivot": pivot, "pivot_reward": self.pivot_reward, "totals": totals, "at": self.at})

    @classmethod
    def unpack(cls, packed: bytes) -> Result:
        """What `pack` packed."""
        body = orjson.loads(packed)
        pivot = None if body["pivot"] is None else unpack_text(body["pivot"])
        said = body.get("totals")  # a gateway of an older version says none
        totals = None if said is None else Totals.model_validate(said)
        rewards = {name: Reward(*each) for name, each in body["rewards"].items()}
        return cls(rewards, pivot, body["pivot_reward"], totals, body["at"])


def _tight(body: Any) -> bytes:
    """As JSON, to be kept for an hour: what orjson gives holds on to its whole buffer of 8 KB."""
    return bytes(memoryview(orjson.dumps(body)))


def pack_text(text: Text) -> bytes:
    """A response as JSON."""
    return _tight([message.model_dump(mode="json", exclude_defaults=True) | {"role": message.role} for message in text])


def unpack_text(packed: bytes | str) -> Text:
    """What `pack_text` packed."""
    return tuple(Message.model_validate(message) for message in orjson.loads(packed))


def result_of(names: list[str], responses: tuple[Text, ...], ranking: Ranking) -> Result:
    """Rewards by name; all of them None where a comparison failed for a passing reason: those of the rest would be others."""
    failed, totals = failure_in(ranking), Totals.of(ranking)
    if failed:
        return Result({name: Reward(None, reason=failed) for name in names}, totals=totals)
    judged = [reward for reward in ranking.rewards if reward is not None]
    mean = sum(judged) / len(judged) if judged else None
    rewards = {
        name: Reward(each.reward, each.stderr, None if each.reward is not None else why_none(ranking, each.index), mean)
        for name, each in zip(names, ranking.standings, strict=True)
    }
    middle = ranking.order[len(ranking.order) // 2] if ranking.order else None
    if middle is None:
        return Result(rewards, totals=totals)
    return Result(rewards, responses[middle], ranking.rewards[middle] or 0.0, totals)


def mean_of(result: Result) -> float | None:
    return next((each.mean for each in result.rewards.values()), None)


def failure_in(ranking: Ranking) -> str | None:
    """The passing reason for which a comparison has no verdict, if one has none."""
    reasons = (each.judgment.outcome.reason for each in ranking.comparisons if isinstance(each.judgment.outcome, NoVerdict))
    return next((reason for reason in reasons if reason in TRANSIENT), None)


def why_none(ranking: Ranking, index: int) -> str:
    """Why a response has no reward: the first reason of its comparisons; "alone" where it had none."""
    outcomes = [each.judgment.outcome for each in ranking.comparisons if index in (each.i, each.j)]
    return next((outcome.reason for outcome in outcomes if isinstance(outcome, NoVerdict)), "alone")
