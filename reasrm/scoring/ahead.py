"""Reading ahead, so that rows which share a question go out together and find their prefix in the engine's cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from reasrm.datasets import Entry

ROWS, BYTES = 1024, 32 * 2**20


def together(entries: Iterable[Entry], rows: int = ROWS, limit: int = BYTES) -> Iterator[Entry]:
    """`entries`, with those that share a question one after another as far as `rows` rows and `limit` characters see ahead.

    Groups keep the order of their first rows; the first of all is never put back. Rows without an example go on their own.
    """
    groups: dict[bytes, list[Entry]] = {}
    held = size = 0
    for entry in entries:
        groups.setdefault(_question(entry), []).append(entry)
        held += 1
        size += _size(entry)
        while held >= rows or size >= limit:
            released = groups.pop(next(iter(groups)))
            held -= len(released)
            size -= sum(map(_size, released))
            yield from released
    for group in groups.values():
        yield from group


def _question(entry: Entry) -> bytes:
    if entry.example is None:
        return b"%d" % entry.index
    digest = hashlib.blake2b(digest_size=16)
    for message in entry.example.question:
        digest.update(f"{message.role}\0{message.content}\0".encode())
    return digest.digest()


def _size(entry: Entry) -> int:
    if entry.example is None:
        return 0
    return sum(len(message.content) for text in (entry.example.question, *entry.example.responses) for message in text)
