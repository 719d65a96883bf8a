"""A group of responses to one question, the options of its ranking, and the view of it that a ranking method has."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from reasrm.messages import EMPTY as EMPTY
from reasrm.types import Frozen, Judgment, Options, Pair, Question, Ranking, Response

MethodName = Literal["all_pairs", "circle", "pivot", "swiss", "knockout"]
MAX_RESPONSES = 64
SHINGLE = 3  # words


class Group(Frozen):
    """1 to 64 responses to one question. A `reference` answer takes part as one more contestant and is the zero of all rewards."""

    question: Question = Field(description="The question: a text, or messages that end with a user or tool message.")
    responses: tuple[Response, ...] = Field(
        min_length=1,
        max_length=MAX_RESPONSES,
        description="1 to 64 responses, each a text or messages that start and end with an assistant message.",
    )
    reference: Response | None = Field(default=None, description="A reference answer, which is the zero of all rewards.")
    rubric: str | None = Field(default=None, min_length=1, description="Your own criteria, used instead of generated ones.")

    @property
    def contestants(self) -> tuple[Response, ...]:
        """The responses, then the reference where there is one (at index `len(responses)`)."""
        return self.responses if self.reference is None else (*self.responses, self.reference)

    def pair(self, i: int, j: int) -> Pair:
        """Contestants `i` and `j` as a pair."""
        return Pair(question=self.question, a=self.contestants[i], b=self.contestants[j], rubric=self.rubric)


class Budget(Frozen):
    """What a ranking may cost at most: readings of two responses in one order (both orders are two), or tokens.

    Tokens are those of prompts and replies together. A comparison starts only where the budget has room for one as expensive as the
    most expensive so far, so the budget is exceeded by at most the extra cost of a single wave. A comparison from a cache
    counts with its original cost, so that the same request gives the same ranking whatever a cache holds.
    """

    comparisons: int | None = Field(default=None, ge=1, description="The most readings of two responses; both orders count as two.")
    tokens: int | None = Field(default=None, ge=1, description="The most tokens of prompts and replies together.")

    @model_validator(mode="after")
    def _limits_something(self) -> Budget:
        if self.comparisons is None and self.tokens is None:
            raise ValueError('a budget names "comparisons" or "tokens"')
        return self


class RankOptions(Options):
    """How to rank. `orders`: "ab" reads each comparison once, with the responses taking turns at the first place; "both" twice.

    `scale` "unit" gives rewards in (-1, 1): tanh(strength / 2) = 2 P(better than the zero) - 1; "raw" gives strengths in logits.
    The zero is the reference answer, or the mean of the group. Responses that are equal up to white space at the ends of lines and
    empty lines at the ends of the text are always compared once and share a reward; indentation tells programs apart.
    `near_duplicates` in (0, 1] does the same for responses that share this part of their three-word shingles (Jaccard), which leave
    out all white space.
    """

    orders: Literal["ab", "both"] = Field(default="ab", description="ab reads each comparison in one order, both in two.")
    method: MethodName = Field(default="swiss", description="How comparisons are chosen.")
    scale: Literal["unit", "raw"] = Field(
        default="unit", description="unit gives rewards in (-1, 1), raw gives strengths in logits."
    )
    budget: Budget | None = Field(default=None, description="What the ranking may cost.")
    near_duplicates: float | None = Field(
        default=None, gt=0.0, le=1.0, description="The share of three-word shingles from which two responses count as one."
    )

    def one(self, deliberation: str | None) -> Options:
        """The part that says how to judge one comparison, continued from `deliberation` where there is one."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in Options.model_fields}
        return Options.model_validate(fields | {"deliberation": deliberation})


class Totals(Frozen):
    """The cost of ranking a group of `responses`: comparisons by their results, and the tokens and seconds spent now.

    `cached`: comparisons that came from a cache and spent nothing. `both_orders`: comparisons with a verdict in each order,
    `consistent`: those of them whose orders agree.
    """

    responses: int = Field(description="Responses in the cohort.")
    comparisons: int = Field(default=0, description="Comparisons that were made.")
    without_verdict: int = Field(default=0, description="Comparisons without a verdict.")
    cached: int = Field(default=0, description="Comparisons from the cache.")
    both_orders: int = Field(default=0, description="Comparisons with a verdict in each order.")
    consistent: int = Field(default=0, description="Comparisons whose two orders agree.")
    prompt_tokens: int = Field(default=0, description="Tokens of prompts.")
    completion_tokens: int = Field(default=0, description="Tokens of replies.")
    seconds: float = Field(default=0.0, description="How long the ranking took.")

    @classmethod
    def of(cls, ranking: Ranking) -> Totals:
        """The totals of a ranking."""
        judgments = [comparison.judgment for comparison in ranking.comparisons]
        agreements = [judgment.order_consistent for judgment in judgments if judgment.order_consistent is not None]
        return cls(
            responses=len(ranking.standings),
            comparisons=len(judgments),
            without_verdict=sum(judgment.winner is None for judgment in judgments),
            cached=ranking.cached,
            both_orders=len(agreements),
            consistent=sum(agreements),
            prompt_tokens=ranking.usage.prompt_tokens,
            completion_tokens=ranking.usage.completion_tokens,
            seconds=ranking.seconds,
        )


class Rewarded(Frozen):
    """One rollout's reward within its cohort, or None and the reason why; `mean` is that of the cohort's judged rewards.

    `totals` are those of the ranking that gave it, the same for all rollouts of a cohort; None where nothing was ranked.
    """

    reward: float | None = Field(description="The reward in (-1, 1); null where there is no verdict.")
    stderr: float | None = Field(default=None, description="The standard error of the reward.")
    mean: float | None = Field(default=None, description="The mean of the cohort's judged rewards.")
    no_verdict: str | None = Field(default=None, description="Why there is no reward.")
    totals: Totals | None = Field(default=None, description="What ranking the whole cohort took.")


@dataclass(frozen=True, slots=True)
class Contest:
    """What a method knows: how many take part, whether comparisons read both orders, which is the reference, the most readings.

    `keys` are hashes of the contestants' texts. `budgeted`: a budget may end the ranking in the middle of a round.
    """

    n: int
    both: bool = False
    reference: int | None = None
    readings: int | None = None
    keys: tuple[int, ...] = ()
    budgeted: bool = False

    def fair(self, i: int, j: int) -> tuple[int, int]:
        """`i` and `j` in the order in which they are shown. The order depends on a hash of their texts only, not on the group.

        So the same two responses are read the same way in every group, and a group's rewards do not depend on its order.
        """
        if not self.keys:
            return (i, j) if (i + j) % 2 else (j, i)
        low, high = sorted((i, j), key=lambda contestant: self.keys[contestant])
        return (low, high) if (self.keys[i] ^ self.keys[j]) & 1 else (high, low)


#: A ranking method: yields rounds of (shown first, shown second), is sent their judgments, and returns when it knows enough.
Rounds = Generator[list[tuple[int, int]], list[Judgment], None]


def circle_of(n: int, both: bool) -> list[tuple[int, int]]:
    """Each contestant once first and once second. Two contestants need one match only if `both` orders are read anyway."""
    if n < 2:
        return []
    return [(0, 1)] if n == 2 and both else [(i, (i + 1) % n) for i in range(n)]


def key_of(text: Response) -> int:
    """A 64-bit hash of a text."""
    whole = "\0".join(message.model_dump_json() for message in text)
    return int.from_bytes(hashlib.blake2b(whole.encode(errors="surrogatepass"), digest_size=8).digest())


@dataclass(frozen=True, slots=True)
class Entrants:
    """The different texts among a group's contestants. `like[c]` is the first contestant whose text is that of contestant `c`;
    `unique` are these first ones, and a ranking method knows them by their place there."""

    like: tuple[int, ...]
    unique: tuple[int, ...]

    @classmethod
    def of(cls, group: Group, near: float | None) -> Entrants:
        """The entrants of `group`; see `duplicates` for `near`."""
        like = tuple(duplicates(group.contestants, near))
        return cls(like, tuple(sorted(set(like))))

    def entrant(self, contestant: int) -> int:
        """The place in `unique` of a contestant's text."""
        return self.unique.index(self.like[contestant])


def duplicates(texts: tuple[Response, ...], near: float | None) -> list[int]:
    """For each text the index of the first that equals it, up to white space at the ends of lines and of the text.

    With `near`, also of the first whose shingles overlap with its own by that share.
    """
    folded = [tuple((message.role, _trimmed(message.content), message.tool_calls) for message in text) for text in texts]
    shingles = [_shingles(text) for text in texts] if near is not None else []
    first: list[int] = []
    for i in range(len(texts)):
        leaders = (j for j in range(i) if first[j] == j)
        same = (j for j in leaders if folded[i] == folded[j] or (near is not None and _jaccard(shingles[i], shingles[j]) >= near))
        first.append(next(same, i))
    return first


def _trimmed(text: str) -> str:
    """`text` without white space at the ends of its lines and empty lines at its ends. With several lines the indentation stays."""
    trimmed = "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")
    return trimmed if "\n" in trimmed else trimmed.lstrip()  # the indentation of a single line means nothing


def _shingles(text: Response) -> frozenset[tuple[str, ...]]:
    content = " ".join(f"{message.content} {message.tool_calls or ''}" for message in text)
    words = re.findall(r"\w+|[^\w\s]", content)
    return frozenset(tuple(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1)))


def _jaccard(a: frozenset[tuple[str, ...]], b: frozenset[tuple[str, ...]]) -> float:
    return len(a & b) / len(a | b)
