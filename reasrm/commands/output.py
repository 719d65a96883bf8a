"""Files that commands write, and counts of their rows in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from reasrm.errors import InputError, Refused


def check_free(path: Path, replace: bool) -> None:
    """Raise `InputError` or `Refused` where the output cannot be written."""
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: there is no such folder to write to", field="output")
    if path.exists() and not replace:
        raise Refused(f"{path} exists; give another name, or replace it with --restart")


@contextmanager
def whole_file(path: Path) -> Generator[TextIO]:
    """A text file that appears at `path` only when all of it is written."""
    from reasrm.scoring.output import whole

    with whole(path) as partial, partial.open("w", encoding="utf-8") as file:
        yield file


def counted(counts: Counter[str]) -> str:
    """Counts in words, the largest first."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.most_common()) or "no rows"
