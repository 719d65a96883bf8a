"""A preference example as the trainer keeps it, and the files of them: one JSON object per line, in the order of their use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from reasrm.errors import RecipeError
from reasrm.types import Frozen, Message, Pair, Question, Response, Side, other
from reasrm_training.data.files import write_whole

Part = Literal["distill", "rlvr", "heldout"]
PARTS: tuple[Part, ...] = ("distill", "rlvr", "heldout")


class PreferenceExample(Frozen):
    """A pair whose better side is known. `strength` > 0 says how clearly it is better; None where the source does not say.

    `subset` is the source's own name for the row's kind. `id` is unique within a data set.
    """

    id: str
    source: str
    question: Question
    a: Response
    b: Response
    winner: Side
    subset: str = ""
    strength: float | None = None

    @property
    def pair(self) -> Pair:
        """The pair that the judge is shown."""
        return Pair(question=self.question, a=self.a, b=self.b)

    def swapped(self) -> PreferenceExample:
        """The same example with its responses in the other order."""
        return self.model_copy(update={"a": self.b, "b": self.a, "winner": other(self.winner)})

    def with_winner(self, side: Side) -> PreferenceExample:
        """The same example with the better response on `side`."""
        return self if self.winner == side else self.swapped()


def text_of(messages: Sequence[Message]) -> str:
    """The contents and tool calls of `messages` as one text."""
    return "\n".join(part for m in messages for part in (m.content, *(f"{c.name} {c.arguments}" for c in m.tool_calls)) if part)


def folded(text: str) -> str:
    """`text` without differences of case and white space. Questions with equal folded texts ask the same."""
    return re.sub(r"\s+", " ", text).strip().casefold()


def write_examples(path: Path, examples: Iterable[PreferenceExample]) -> str:
    """Write `examples` as JSON lines, whole or not at all, and return the file's SHA-256. Equal examples give equal bytes."""
    lines = [example.model_dump_json(exclude_defaults=True) + "\n" for example in examples]
    return write_whole(path, "".join(lines).encode())


def read_examples(path: Path) -> Iterator[PreferenceExample]:
    """Read a file of `write_examples`. Raises RecipeError, which names the line."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield PreferenceExample.model_validate_json(line)
                except ValidationError as error:
                    first = error.errors()[0]
                    where = ".".join(str(part) for part in first["loc"])
                    raise RecipeError(f"{path}, line {number}: {where}: {first['msg']}") from None
    except FileNotFoundError:
        raise RecipeError(f"{path}: there is no such data; make it by `reasrm data mix`") from None
