"""Files that are whole or not there, and folders that one run at a time works in."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reasrm.errors import RecipeError, Refused


def write_whole(path: Path, content: bytes) -> str:
    """Put `content` at `path` in one step and return its SHA-256. Raises RecipeError where the disk has no room for it."""
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
    """Keep a second run away from `folder` and yield the lock's file descriptor. Raises Refused where a run holds it.

    The lock goes with the process, in whatever way that ends. Processes that inherit the descriptor hold the lock too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"another run is at work in {folder}") from None
        yield file.fileno()
