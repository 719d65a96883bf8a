"""Reads a whole input once before any token is spent, and collects its facts."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from pydantic_core import PydanticSerializationError, to_json

from reasrm.datasets import DataRow, DataSet
from reasrm.errors import InputError
from reasrm.wording import counted


@dataclass(slots=True)
class Survey:
    """The facts of an input. `digest` names its rows, `notes` say how they were read.

    `duplicates` counts repeated ids within a file.
    """

    schema: str
    rows: int
    digest: str
    notes: tuple[str, ...]
    bad: int
    first_bad: str
    duplicates: int
    first_duplicate: str

    @property
    def lines(self) -> list[str]:
        """The facts in lines for people."""
        lines = [f"{counted(self.rows, 'row')} of schema {self.schema}", *self.notes]
        if self.bad:
            lines.append(f"{self.bad:,} of them cannot be judged, the first is {self.first_bad}")
        if self.duplicates:
            lines.append(f"{self.duplicates:,} ids came before, the first is {self.first_duplicate}; rows keep their number")
        return lines


def survey(data: DataSet, *, fail_fast: bool = False, progress: Callable[[int], None] = lambda _: None) -> Survey:
    """Read `data` through once. Raises InputError for what cannot be read at all and, with `fail_fast`, for the first bad row."""
    digest = hashlib.blake2b(digest_size=16)
    result = Survey("", 0, "", (), 0, "", 0, "")
    seen = _Seen()
    for entry in data:
        result.rows += 1
        digest.update(_written(entry))
        if entry.example is None:
            if fail_fast:
                raise InputError(f"{entry.where}: {entry.error}")
            result.bad += 1
            result.first_bad = result.first_bad or f"{entry.where}: {entry.error}"
        elif entry.example.id and seen.before(f"{entry.file}\0{entry.example.id}"):
            result.duplicates += 1
            result.first_duplicate = result.first_duplicate or f"{entry.where}: {entry.example.id}"
        if result.rows % 1000 == 0:
            progress(result.rows)
    result.schema = data.name
    result.notes = tuple(data.notes)
    result.digest = digest.hexdigest()
    return result


def _written(entry: DataRow) -> bytes:
    """The contents of a row, for the digest."""
    contents = [entry.row, entry.error]
    try:
        return to_json(contents, fallback=str)
    except PydanticSerializationError:  # texts or bytes that are not UTF-8
        return json.dumps(contents, default=str).encode()


class _Seen:
    """An exact set of texts that lives on disk: memory stays flat whatever the number of rows."""

    def __init__(self) -> None:
        self._table = sqlite3.connect("", isolation_level=None)  # a temporary file that goes with the connection
        for statement in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", "BEGIN"):
            self._table.execute(statement)
        self._table.execute("CREATE TABLE seen (text BLOB PRIMARY KEY) WITHOUT ROWID")

    def before(self, text: str) -> bool:
        """Add `text`; return whether it was in the set already."""
        hashed = hashlib.blake2b(text.encode(errors="replace"), digest_size=16).digest()
        return self._table.execute("INSERT OR IGNORE INTO seen VALUES (?)", (hashed,)).rowcount == 0
