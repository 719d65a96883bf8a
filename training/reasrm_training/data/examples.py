"""A labelled pair as the trainer keeps it, and the files that hold them: one JSON object a line, in the order they are used."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from reasrm.errors import RecipeError, Refused
from reasrm.types import Frozen, Message, Pair, Question, Response, Side, other

Part = Literal["distill", "rlvr", "heldout"]
PARTS: tuple[Part, ...] = ("distill", "rlvr", "heldout")


class PreferenceExample(Frozen):
    """A pair whose better side is known. `strength` > 0 says how clearly it is better, None where nobody said.

    `subset` is the source's own name for the row's kind; `id` is unique within a data set.
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
        """What the judge is shown."""
        return Pair(question=self.question, a=self.a, b=self.b)

    def swapped(self) -> PreferenceExample:
        """The same example with its responses in the other order."""
        return self.model_copy(update={"a": self.b, "b": self.a, "winner": other(self.winner)})

    def with_winner(self, side: Side) -> PreferenceExample:
        """The same example with the better response on `side`."""
        return self if self.winner == side else self.swapped()


def text_of(messages: Sequence[Message]) -> str:
    """Everything that is said and called in `messages`, as one text."""
    return "\n".join(part for m in messages for part in (m.content, *(f"{c.name} {c.arguments}" for c in m.tool_calls)) if part)


def folded(text: str) -> str:
    """`text` without differences of case and white space: what makes two texts equal."""
    return re.sub(r"\s+", " ", text).strip().casefold()


def write_examples(path: Path, examples: Iterable[PreferenceExample]) -> str:
    """Write `examples` as JSON lines, whole or not at all; return the file's SHA-256. Equal examples give equal bytes."""
    lines = [example.model_dump_json(exclude_defaults=True) + "\n" for example in examples]
    return write_whole(path, "".join(lines).encode())


def write_whole(path: Path, content: bytes) -> str:
    """Put `content` at `path` in one step; return its SHA-256. Raises RecipeError where the disk has no room for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < len(content) + 2**20:
        raise RecipeError(f"{path}: needs {len(content) / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free on its disk")
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    return hashlib.sha256(content).hexdigest()


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Keep a second run away from `folder`; the lock goes with the process, however that ends. Raises Refused.

    Processes that inherit the descriptor hold the lock too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"another run is at work in {folder}") from None
        yield file.fileno()


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
