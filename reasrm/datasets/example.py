"""`Example`, one row of a data set: a question, its responses, and the known labels."""

from __future__ import annotations

from pydantic import Field, FiniteFloat, model_validator

from reasrm.types import Frozen, Pair, Question, Response, Side


class Example(Frozen):
    """One row of any data set.

    `labels` holds one number per response, greater is better; None where nobody labelled them. No position carries meaning: the
    labels alone say which response is preferred. `comparisons` are the (i, j) that the data set asks about; with none, two
    responses are one comparison, and more are to be ranked. `strength` >= 0 says how clearly the preferred one is better, in the
    data set's own units. `subset` is the data set's own name for the row's kind.
    """

    id: str = ""
    question: Question
    responses: tuple[Response, ...] = Field(min_length=2)
    labels: tuple[FiniteFloat, ...] | None = None
    comparisons: tuple[tuple[int, int], ...] = ()
    strength: FiniteFloat | None = Field(default=None, ge=0.0)
    subset: str = ""
    rubric: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _indices_fit(self) -> Example:
        count = len(self.responses)
        if self.labels is not None and len(self.labels) != count:
            raise ValueError(f"{len(self.labels)} labels for {count} responses")
        for i, j in self.comparisons:
            if not (0 <= i < count and 0 <= j < count and i != j):
                raise ValueError(f"comparison ({i}, {j}) names no two of {count} responses")
        return self

    @property
    def is_pair(self) -> bool:
        """Whether it is one comparison of two responses."""
        return len(self.responses) == 2

    @property
    def comparisons_to_judge(self) -> tuple[tuple[int, int], ...]:
        """The comparisons to make; none where the responses are to be ranked."""
        return self.comparisons or (((0, 1),) if self.is_pair else ())

    @property
    def winner(self) -> Side | None:
        """The preferred side of a pair ("A" is the first response); None for a tie, a group, and without labels."""
        return self.preferred(0, 1) if self.is_pair else None

    @property
    def chosen(self) -> Response | None:
        """The preferred response of a pair, where there is one."""
        return None if self.winner is None else self.responses["AB".index(self.winner)]

    @property
    def rejected(self) -> Response | None:
        """The other response of a pair, where one is preferred."""
        return None if self.winner is None else self.responses["BA".index(self.winner)]

    @property
    def text(self) -> str:
        """All of its texts, joined without separators."""
        messages = [message for part in (self.question, *self.responses) for message in part]
        arguments = [call.arguments for message in messages for call in message.tool_calls]
        return "".join([self.id, self.subset, self.rubric or "", *(message.content for message in messages), *arguments])

    @property
    def lengths(self) -> tuple[int, ...]:
        """Characters of each response."""
        return tuple(sum(len(message.content) for message in response) for response in self.responses)

    def preferred(self, i: int, j: int) -> Side | None:
        """Which of responses `i` ("A") and `j` ("B") the labels prefer; None for a tie or without labels."""
        if self.labels is None or self.labels[i] == self.labels[j]:
            return None
        return "A" if self.labels[i] > self.labels[j] else "B"

    def pair(self, i: int = 0, j: int = 1) -> Pair:
        """Responses `i` and `j` as a pair. It skips validation, since the example validated its parts."""
        return Pair.model_construct(question=self.question, a=self.responses[i], b=self.responses[j], rubric=self.rubric)
