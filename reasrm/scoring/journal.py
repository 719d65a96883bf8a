"""The append-only file of finished rows: each is durable at once, a resumed run reads them, and the complete output replaces the
file.

    header line     the identity of the run: its input, judge and settings
    row lines       checksum, index, and the row as the output will have it

Rows stand in the order in which they finished. No row is further ahead of the lowest unfinished row than the window, so that
putting them in order takes bounded memory. A torn last line is cut off, and so is everything from a line with a wrong checksum on.
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from reasrm.errors import Refused

WINDOW = 4096  # rows


class Done:
    """The finished indices: all below `low`, and some in the window above it."""

    def __init__(self) -> None:
        self.low = 0
        self.count = 0
        self._above: set[int] = set()

    def __contains__(self, index: int) -> bool:
        return index < self.low or index in self._above

    def add(self, index: int) -> None:
        """Note that `index` is finished."""
        self.count += 1
        self._above.add(index)
        while self.low in self._above:
            self._above.remove(self.low)
            self.low += 1


class Journal:
    """The journal at `path` of the run that `identity` describes. Use as a context manager.

    Raises Refused where it belongs to another run, is being written by another process, or cannot be written.
    """

    def __init__(self, path: Path, identity: dict[str, Any], *, restart: bool = False) -> None:
        self.path = path
        self.done = Done()
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise Refused(f"{path} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._load(identity, restart)
        except BlockingIOError:
            os.close(self._file)
            raise Refused(f"{path} is being written by another process") from None
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; it stays on the disk."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def remove(self) -> None:
        """Remove the journal, because the output is complete."""
        self.path.unlink(missing_ok=True)
        self.close()

    def _load(self, identity: dict[str, Any], restart: bool) -> None:
        whole = 0
        if restart:
            os.ftruncate(self._file, 0)
        with self.path.open("rb") as file:
            header = file.readline()
            if header.endswith(b"\n"):
                self._check(header, identity)
                whole = len(header)
                for line in file:
                    index = _index_of(line)
                    if index is None:
                        break
                    whole += len(line)
                    self.done.add(index)
        os.ftruncate(self._file, whole)
        os.lseek(self._file, 0, os.SEEK_END)
        if whole == 0:
            self._write(json.dumps(identity, ensure_ascii=False, sort_keys=True).encode() + b"\n")
            self.sync()

    def _check(self, header: bytes, identity: dict[str, Any]) -> None:
        try:
            stored = json.loads(header)
        except ValueError:
            raise Refused(f"{self.path} is not a journal; remove it, or start over with --restart") from None
        if not isinstance(stored, dict):
            raise Refused(f"{self.path} is not a journal; remove it, or start over with --restart")
        before, now = cast(dict[str, Any], stored), json.loads(json.dumps(identity))
        changed = [f"{name} was {before.get(name)!r} and is {now.get(name)!r}" for name in now if before.get(name) != now.get(name)]
        if changed:
            raise Refused(
                f"{self.path} was begun by another run: {'; '.join(changed)}. Use the same settings, or start over with --restart"
            )

    def append(self, index: int, row: bytes) -> None:
        """Keep `row` (one line of JSON, without its end). The operating system has it when this returns."""
        checked = b"%d %s" % (index, row)
        self._write(b"%08x %s\n" % (zlib.crc32(checked), checked))
        self.done.add(index)

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            raise Refused(
                f"{self.path} cannot be written: {error.strerror}; {self.done.count:,} rows are safe in it. Make room, and run the "
                "same command again"
            ) from error

    def sync(self) -> None:
        """Flush the journal to the disk."""
        os.fsync(self._file)

    def rows(self) -> Iterator[bytes]:
        """The finished rows in the order of their indices, from 0 up to the first that is missing."""
        waiting: dict[int, bytes] = {}
        expected = 0
        with self.path.open("rb") as file:
            file.readline()
            for line in file:
                _, index, row = line[:-1].split(b" ", 2)
                waiting[int(index)] = row
                while expected in waiting:
                    yield waiting.pop(expected)
                    expected += 1


def _index_of(line: bytes) -> int | None:
    """The index of a whole line; None for a torn or damaged line."""
    checksum, _, checked = line.partition(b" ")
    if not line.endswith(b"\n") or len(checksum) != 8:
        return None
    try:
        right = int(checksum, 16) == zlib.crc32(checked[:-1])
        return int(checked.partition(b" ")[0]) if right else None
    except ValueError:
        return None
