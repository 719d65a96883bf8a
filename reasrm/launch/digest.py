"""The version of weights: a digest of the files that decide a model's replies."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FILE = "digests.json"
DIGEST_BYTES = 8


def version_of(files: Sequence[Path], state: Path, *, more: Sequence[str] = ()) -> str:
    """A digest, in hexadecimal, of the content of `files` and of the texts `more`.

    The digest of each file is kept in the folder `state` under its path, size and time of change, because reading some
    gigabytes takes seconds. Where nothing can be kept, they are read each time.
    """
    kept = _kept(state)
    hasher = hashlib.blake2b(digest_size=DIGEST_BYTES)
    known: dict[str, Any] = {}
    for file in files:
        about = file.stat()
        entry = kept.get(str(file.resolve()))
        if not (isinstance(entry, list) and entry[:2] == [about.st_size, about.st_mtime_ns]):
            entry = [about.st_size, about.st_mtime_ns, _digest(file)]
        known[str(file.resolve())] = entry
        hasher.update(f"{file.name}\0{entry[2]}\0".encode())
    for text in more:
        hasher.update(f"{text}\0".encode())
    if any(kept.get(path) != entry for path, entry in known.items()):
        _keep(state, kept | known)
    return hasher.hexdigest()


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES)).hexdigest()


def _kept(state: Path) -> dict[str, Any]:
    try:
        kept = json.loads((state / FILE).read_text())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _keep(state: Path, digests: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        state.mkdir(parents=True, exist_ok=True)
        draft = state / f"{FILE}.{os.getpid()}"
        draft.write_text(json.dumps({path: entry for path, entry in digests.items() if Path(path).exists()}))
        draft.replace(state / FILE)
