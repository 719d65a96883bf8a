"""The data types that cross a process or a file: frozen, and closed to unknown keys.

A `Pair` is judged by `Options` into a `Judgment`, which holds one `Opinion` per reply of the judge. An opinion reads the pair
in one order; all results are in the frame of the given pair: side "A" is always `pair.a`.
A group of responses to one question is judged into a `Ranking`, whose `Comparison`s are judgments of pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from pydantic import Field

from reasrm.messages import Frozen, Message, Question, Response
from reasrm.options import Options
from reasrm.outcomes import (
    FAILURES,
    PERMANENT,
    TRANSIENT,
    NoVerdict,
    Order,
    Outcome,
    Quote,
    Reading,
    Reason,
    Rubric,
    RubricItem,
    Side,
    Source,
    TaskType,
    Verdict,
    other,
)

__all__ = [
    "FAILURES",
    "PERMANENT",
    "TRANSIENT",
    "Answer",
    "Ask",
    "Comparison",
    "Completer",
    "Completion",
    "Failure",
    "Frozen",
    "Judgment",
    "Message",
    "NoVerdict",
    "Opinion",
    "Options",
    "Order",
    "Outcome",
    "Pair",
    "PairJudge",
    "Question",
    "Quote",
    "Ranking",
    "Reading",
    "Reason",
    "Response",
    "Rubric",
    "RubricItem",
    "Side",
    "Source",
    "Standing",
    "TaskType",
    "Token",
    "Usage",
    "Verdict",
    "other",
]


class Pair(Frozen):
    """Two responses to one question; `rubric` is the caller's own and replaces a generated one."""

    question: Question = Field(description="The question: a text, or messages that end with a user or tool message.")
    a: Response = Field(description="Response A: a text, or messages that start and end with an assistant message.")
    b: Response = Field(description="Response B, like A.")
    rubric: str | None = Field(default=None, min_length=1, description="Your own criteria, used instead of generated ones.")

    @classmethod
    def of(cls, question: Any, a: Any, b: Any, rubric: str | None = None) -> Pair:
        """Make a pair out of strings or messages (mappings or `Message`); raises pydantic's ValidationError."""
        return cls(question=question, a=a, b=b, rubric=rubric)

    def swapped(self) -> Pair:
        """The same pair with its responses in the other order."""
        return self.model_copy(update={"a": self.b, "b": self.a})


class Usage(Frozen):
    """Tokens and requests that went to the engine. `cached_tokens` are prompt tokens that its prefix cache held."""

    prompt_tokens: int = Field(default=0, description="Tokens of prompts.")
    completion_tokens: int = Field(default=0, description="Tokens of replies.")
    cached_tokens: int = Field(default=0, description="Prompt tokens that the engine's prefix cache held.")
    requests: int = Field(default=0, description="Requests to the engine.")

    def __add__(self, more: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + more.prompt_tokens,
            completion_tokens=self.completion_tokens + more.completion_tokens,
            cached_tokens=self.cached_tokens + more.cached_tokens,
            requests=self.requests + more.requests,
        )


class Opinion(Frozen):
    """One reply of the judge. `order` is the order of the responses in its prompt; outcome and quotes are in the pair's frame."""

    order: Order = Field(description="The order in which the judge saw the responses: ab is A first.")
    outcome: Outcome = Field(description="The outcome of this reply, in the frame of the pair.")
    reading: Reading = Field(description="The parsed parts of the reply.")
    reply: str = Field(description="The text of the reply.")
    usage: Usage = Field(default=Usage(), description="What the reply cost.")
    seconds: float = Field(default=0.0, description="Seconds that the reply took.")


class Judgment(Frozen):
    """The outcome for one pair, with all replies behind it."""

    outcome: Outcome = Field(description="The verdict, or why there is none.")
    opinions: tuple[Opinion, ...] = Field(default=(), description="Every reply of the judge.")
    model: str = Field(default="", description="The model that judged.")
    weight_version: str = Field(default="", description="The version of its weights.")
    prompt_digest: str = Field(default="", description="The prompt pack with its digest.")
    usage: Usage = Field(default=Usage(), description="The cost of all replies.")
    seconds: float = Field(default=0.0, description="Seconds that the judgment took when it was made.")
    cached: bool = Field(default=False, description="Whether it comes from the cache.")

    @property
    def winner(self) -> Side | None:
        """The better side, or None."""
        return self.outcome.winner if isinstance(self.outcome, Verdict) else None

    @property
    def probability_a(self) -> float | None:
        """The probability that A is better, or None where there is no verdict."""
        return self.outcome.probability_a if isinstance(self.outcome, Verdict) else None

    @property
    def order_consistent(self) -> bool | None:
        """Whether both orders name the same side; None unless each order gave a verdict (by majority of its own replies)."""
        sides: dict[str, int] = {}
        for opinion in self.opinions:
            if isinstance(opinion.outcome, Verdict):
                sides[opinion.order] = sides.get(opinion.order, 0) + (1 if opinion.outcome.winner == "A" else -1)
        if len(sides) < 2 or 0 in sides.values():
            return None
        return (sides["ab"] > 0) == (sides["ba"] > 0)


class Comparison(Frozen):
    """Responses `i` and `j` of a group compared, `i` as side A."""

    i: int = Field(description="The response on side A.")
    j: int = Field(description="The response on side B.")
    judgment: Judgment = Field(description="How the two compare.")


class Standing(Frozen):
    """One response's place in its group. `reward` is None if it was never judged; `stderr` is the reward's standard error.

    `place` counts from 1; rewards that are equal (within 0.01 logits) share a place, and the next place leaves out as many
    (1, 2, 2, 4). None without a reward.
    """

    index: int = Field(description="The response, by its place in the request.")
    reward: float | None = Field(description="Its reward; null where it was never judged.")
    stderr: float | None = Field(default=None, description="The standard error of the reward.")
    comparisons: int = Field(default=0, description="How many comparisons it took part in.")
    duplicate_of: int | None = Field(default=None, description="The response with the same text whose standing it shares.")
    place: int | None = Field(
        default=None, description="Its place from 1, shared by rewards within 0.01 logits; null without a reward."
    )


class Ranking(Frozen):
    """A group judged: one standing per response, in the responses' order. `order`: indices from best to worst, judged ones only;
    responses that tie stand in their own order there, and their `place` says that they tie.

    `usage` and `seconds` are the cost of this ranking; comparisons that came from a cache (`cached` of them) spent nothing.
    """

    standings: tuple[Standing, ...] = Field(description="One standing per response, in the order of the request.")
    order: tuple[int, ...] = Field(description="The judged responses from best to worst; those that tie in their own order.")
    comparisons: tuple[Comparison, ...] = Field(default=(), description="Every comparison that was made.")
    method: str = Field(default="", description="The method that chose the comparisons.")
    usage: Usage = Field(default=Usage(), description="The cost of the comparisons that did not come from a cache.")
    seconds: float = Field(default=0.0, description="Seconds that the comparisons took, without those from a cache.")
    cached: int = Field(default=0, description="The number of comparisons from a cache, which cost nothing.")

    @property
    def rewards(self) -> list[float | None]:
        """One reward per response, in the responses' order."""
        return [standing.reward for standing in self.standings]


# --- what goes to an engine, and what comes back ------------------------------------------------------------------------


class Ask(Frozen):
    """One prompt for the judge model. `prefill` is the beginning of the reply, which the engine continues.

    `order` is the order of the pair's responses in it; `alternatives` is how many of the likeliest tokens are wanted per token.
    `pattern` is a regular expression for the whole continuation; engines that know none write freely.
    `optional`: the judgment can do without an answer, so an engine that cannot continue a reply is no failure.
    """

    messages: tuple[Message, ...]
    prefill: str = ""
    alternatives: int = 3  # the verdict's letter and its twin; not more, because an 8k-token reply carries them for every token
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 2048
    seed: int | None = None
    stop: tuple[str, ...] = ()
    pattern: str | None = None
    order: Order = "ab"
    optional: bool = False


class Token(Frozen):
    """A token of a reply with the log-probabilities of the likeliest tokens in its place (itself included)."""

    text: str
    top: Mapping[str, float]


class Completion(Frozen):
    """A reply of the engine: `text` continues the prefill. `tokens` are the reply's last ones, None where it gives no logprobs."""

    text: str
    finish_reason: Literal["stop", "length"] = "stop"
    tokens: tuple[Token, ...] | None = None
    usage: Usage = Usage()
    seconds: float = 0.0
    model: str = ""
    weight_version: str = ""


class Failure(Frozen):
    """The failure of a request. It takes the completion's place in a protocol."""

    no_verdict: NoVerdict
    seconds: float = 0.0


Answer = Completion | Failure


class Completer(Protocol):
    """The interface of engines: anything that continues a prompt. Raises `EngineError`."""

    async def complete(self, ask: Ask) -> Completion:
        """Return one completion of `ask`."""
        ...


class PairJudge(Protocol):
    """The interface of judges: anything that judges a pair, for example an engine, a gateway or a script.

    A failed judgment is a `NoVerdict` and never raises; the caller's mistake (`InputError`) always raises. See `reasrm.failures`.
    """

    async def judge(self, pair: Pair, options: Options) -> Judgment:
        """Judge `pair` as `options` say."""
        ...
