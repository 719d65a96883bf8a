"""Reading ahead, so that rows which share a question go out together and find their prefix in the engine's cache."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator

from reasrm.datasets import DataRow

ROWS, BYTES = 1024, 32 * 2**20


def together(entries: Iterable[DataRow], rows: int = ROWS, limit: int = BYTES) -> Iterator[DataRow]:
    """`entries`, reordered so that rows with the same question follow each other, within a look-ahead of `rows` rows and `limit`
    characters.

    Groups keep the order of their first rows; the first row is never delayed. Rows without an example form groups of one.
    """
    groups: dict[Hashable, list[tuple[DataRow, int]]] = {}
    held = total = 0
    for entry in entries:
        size = _size(entry)
        groups.setdefault(_question(entry), []).append((entry, size))
        held += 1
        total += size
        while held >= rows or total >= limit:
            for released, size in groups.pop(next(iter(groups))):
                held -= 1
                total -= size
                yield released
    for group in groups.values():
        yield from (entry for entry, _ in group)


def _question(entry: DataRow) -> Hashable:
    """The key that rows with the same question share. It refers to the texts and holds no copy of them."""
    if entry.example is None:
        return entry.index
    return tuple((message.role, message.content) for message in entry.example.question)


def _size(entry: DataRow) -> int:
    if entry.example is None:
        return 0
    return sum(len(message.content) for text in (entry.example.question, *entry.example.responses) for message in text)
