"""The outcome of a judge's reply: a verdict, or the reason why there is none; and the parsed parts of the reply."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reasrm.messages import Frozen

Side = Literal["A", "B"]
TaskType = Literal["chat", "reasoning"]
Order = Literal["ab", "ba"]
Source = Literal["logprobs", "votes", "forced"]

#: Why there is no verdict. The first six are read from a reply, the others have causes outside of it.
Reason = Literal[
    "no_answer",  # the reply ends without an answer tag
    "both_answers",  # it answers A and B
    "truncated",  # it hit the token limit before answering
    "unclosed_think",  # it never stopped thinking
    "refused",  # it declined to judge
    "empty",  # it says nothing
    "split",  # the votes or the orders are exactly even
    "outside_domain",  # the judge was not made for such inputs
    "too_long",  # the pair does not fit the judge's context
    "refused_by_engine",  # the engine refuses this prompt, and will refuse it again
    "engine_failed",  # the engine gave no completion
    "deadline",  # there was no reply in time
]
#: Failures that a retry may cure.
TRANSIENT: frozenset[str] = frozenset({"engine_failed", "deadline"})
#: Failures that a retry does not cure.
PERMANENT: frozenset[str] = frozenset({"too_long", "refused_by_engine"})
#: Failures of the engine: they are not outcomes of the judge, and no cache stores them.
FAILURES: frozenset[str] = TRANSIENT | PERMANENT


def other(side: Side) -> Side:
    """The other side."""
    return "B" if side == "A" else "A"


class RubricItem(Frozen):
    """One criterion; `weight` is a share in [0, 1], None where the judge gave none."""

    text: str = Field(description="The criterion.")
    weight: float | None = Field(default=None, description="Its share of the decision, 0 to 1; null where the judge gave none.")


class Rubric(Frozen):
    """The judge's criteria, with their justification and the text as written."""

    items: tuple[RubricItem, ...] = Field(default=(), description="The criteria, in the order of the rubric.")
    justification: str | None = Field(default=None, description="Why these criteria, in the words of the judge.")
    text: str = Field(default="", description="The rubric as it was written.")


class Quote(Frozen):
    """A quotation or a summary of one side in an evaluation.

    `in_response`: whether a quotation stands in that side's response (up to white space, case and quotation marks); None if it
    was not looked up, as for a summary.
    """

    side: Side = Field(description="The response that it quotes or summarises.")
    kind: Literal["quote", "summary"] = Field(description="Whether this is a quotation or a summary.")
    text: str = Field(description="The quotation or the summary.")
    in_response: bool | None = Field(default=None, description="Whether a quotation stands in its response; null if not looked up.")

    def swapped(self) -> Quote:
        """The same quote with the sides' names exchanged."""
        return self.model_copy(update={"side": other(self.side)})


class NoVerdict(Frozen):
    """There is no winner, for this reason. It is neither a tie nor a score."""

    reason: Reason = Field(description="Why there is no verdict.")
    detail: str = Field(default="", description="Details of the reason.")

    @property
    def transient(self) -> bool:
        """Whether a retry may help."""
        return self.reason in TRANSIENT

    @property
    def failed(self) -> bool:
        """Whether the engine failed or refused, as opposed to a judge that gave no verdict."""
        return self.reason in FAILURES


class Verdict(Frozen):
    """The better side, with `probability_a` in [0, 1].

    `source`: "logprobs" of the verdict token; "votes" that were counted; "forced" where a reply ended without an answer, and the
    engine continued it at the answer tag.
    """

    winner: Side = Field(description="The better response.")
    probability_a: float = Field(ge=0.0, le=1.0, description="The probability that A is better.")
    source: Source = Field(
        description="Where the probability comes from: log-probabilities of the verdict token, counted votes, or an answer that "
        "was forced from a reply without one."
    )

    @property
    def margin(self) -> float:
        """How far the verdict is from even, in [0, 1]."""
        return abs(2.0 * self.probability_a - 1.0)

    def swapped(self) -> Verdict:
        """The same verdict seen from the other order."""
        return self.model_copy(update={"winner": other(self.winner), "probability_a": 1.0 - self.probability_a})


Outcome = Verdict | NoVerdict


class Reading(Frozen):
    """A reply taken apart. Every part is None or empty where the reply lacks it; the sides are those of the reply."""

    answer: Side | None = Field(default=None, description="The response that the reply names.")
    no_verdict: NoVerdict | None = Field(default=None, description="Why the reply names none.")
    task_type: TaskType | None = Field(default=None, description="The kind of task, as the judge named it.")
    thinking: str | None = Field(default=None, description="What the judge thought before its answer.")
    rubric: Rubric | None = Field(default=None, description="The criteria of the judge.")
    solution: str | None = Field(default=None, description="The judge's own solution of the task.")
    evaluation: str | None = Field(default=None, description="The judge's comparison of both responses by its criteria.")
    quotes: tuple[Quote, ...] = Field(default=(), description="The quotations and summaries of the evaluation.")

    def swapped(self) -> Reading:
        """The same reading with the sides of its answer and quotes exchanged (its texts stay as written)."""
        return self.model_copy(
            update={
                "answer": self.answer and other(self.answer),
                "quotes": tuple(quote.swapped() for quote in self.quotes),
            }
        )
