"""The latest judgments of this gateway, for people to look at. They are bounded in number and bytes, and live in memory only.

Recording one costs next to nothing, since training loops ask for thousands per second. A reader's search does the expensive
work.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson

from reasrm.metrics import wilson
from reasrm.types import Message, Options, Pair
from reasrm_serving.auth.context import Caller, Principal, caller, principal
from reasrm_serving.judgment_json import JudgmentJson

MAX_BYTES = 64 * 2**20  # bytes of texts, for any number of judgments
BINS, CHUNKS, FEWEST = 20, 40, 5  # bins of the histogram; chunks of the trend, and the fewest judgments in one chunk
RATE_S = 60.0
SHOWN = 240  # characters of a question in a list


@dataclass(frozen=True)
class HistoryEntry:
    """A judgment given to the holder of the key `by` at `at` (Unix seconds), after `seconds`; `id` is its key in the cache.

    `size` is what its texts take in memory, in bytes.
    """

    id: str
    at: float
    by: str
    caller: Caller
    pair: Pair
    options: Options
    judgment: JudgmentJson
    seconds: float
    cached: bool
    size: int

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The winner, P(A), and whether the orders agree."""
        return orjson.loads(self.judgment.derived)

    @property
    def reason(self) -> str | None:
        """The reason for no verdict; None if there is a verdict."""
        return None if self.judgment.label in ("A", "B") else self.judgment.label

    def row(self) -> dict[str, Any]:
        """Its line in a list."""
        question = next((m.content for m in reversed(self.pair.question) if m.role == "user"), self.pair.question[-1].content)
        usage = orjson.loads(self.judgment.judgment)["usage"]
        return {
            "id": self.id,
            "at": self.at,
            "run": self.caller.run,
            "subset": self.caller.subset,
            "question": " ".join(question[:SHOWN].split()),
            "reason": self.reason,
            "seconds": self.seconds,
            "cached": self.cached,
            **self.facts,
            "tokens": usage["prompt_tokens"] + usage["completion_tokens"],
        }

    def request(self) -> dict[str, Any]:
        """The request that gets this judgment again."""
        texts = {name: _wire(getattr(self.pair, name)) for name in ("question", "a", "b")}
        rubric = {"rubric": self.pair.rubric} if self.pair.rubric else {}
        return texts | rubric | self.options.model_dump(mode="json", exclude_defaults=True)


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """The criteria of a search; an empty one matches everything. `outcome` is a winner or a reason."""

    q: str = ""
    run: str = ""
    subset: str = ""
    outcome: str = ""
    disagree: bool = False

    def matches(self, entry: HistoryEntry) -> bool:
        """Whether `entry` matches."""
        return (
            (not self.run or entry.caller.run == self.run)
            and (not self.subset or entry.caller.subset == self.subset)
            and (not self.outcome or entry.judgment.label == self.outcome)
            and (not self.disagree or entry.facts["order_consistent"] is False)
            and (not self.q or any(self.q.casefold() in text.casefold() for text in _texts(entry.pair)))
        )


@dataclass(slots=True)
class History:
    """The latest `keep` judgments; 0 keeps none."""

    keep: int
    clock: Callable[[], float] = time.time
    _entries: deque[HistoryEntry] = field(default_factory=deque[HistoryEntry])
    _bytes: int = 0
    _gone_at: float = -math.inf  # the time of the latest judgment that was dropped

    def note(self, key: str, pair: Pair, options: Options, judgment: JudgmentJson, seconds: float, *, cached: bool) -> None:
        """Record a judgment that a caller received."""
        if not self.keep:
            return
        size = len(judgment.judgment) + sum(map(sys.getsizeof, (*_texts(pair), *_notes(pair, options))))
        owner, named = principal.get().name, caller.get() or Caller()
        self._entries.append(HistoryEntry(key, self.clock(), owner, named, pair, options, judgment, seconds, cached, size))
        self._bytes += size
        while len(self._entries) > self.keep or self._bytes > MAX_BYTES:
            gone = self._entries.popleft()
            self._bytes, self._gone_at = self._bytes - gone.size, gone.at

    def find(self, key: str, reader: Principal) -> HistoryEntry | None:
        """The latest judgment of that id, if `reader` may see it."""
        return next((entry for entry in reversed(self._entries) if entry.id == key and _may_see(reader, entry)), None)

    async def search(self, query: HistoryQuery, limit: int, reader: Principal) -> dict[str, Any]:
        """The newest `limit` matches that `reader` may see, and statistics of all of them.

        It runs outside of the event loop, because parsing thousands of judgments for the first time takes up to a second.
        """
        return await asyncio.to_thread(self._search, tuple(self._entries), query, limit, reader)

    def _search(self, entries: Sequence[HistoryEntry], query: HistoryQuery, limit: int, reader: Principal) -> dict[str, Any]:
        visible = [entry for entry in entries if _may_see(reader, entry)]
        matching = [entry for entry in visible if query.matches(entry)]
        # If less than a minute of judgments is kept, the rate is over the time that is kept completely.
        since = max(self.clock() - RATE_S, self._gone_at)
        span = max(1.0, self.clock() - since)
        both = [entry.facts["order_consistent"] for entry in matching if entry.facts["order_consistent"] is not None]
        return {
            "kept": len(visible),
            "matching": len(matching),
            "cached": sum(entry.cached for entry in matching),
            "no_verdict": sum(entry.reason is not None for entry in matching),
            "both_orders": len(both),
            "consistent": sum(both),
            "rate_per_s": sum(entry.at > since for entry in matching) / span,
            "rate_over_s": span,
            "runs": _distinct(entry.caller.run for entry in visible),
            "subsets": _distinct(entry.caller.subset for entry in visible),
            "reasons": _distinct(entry.reason for entry in visible),
            "histogram": _histogram(entry.facts["probability_a"] for entry in matching),
            "trend": _trend(both),
            "items": [entry.row() for entry in reversed(matching[-limit:] if limit else [])],
        }


def _may_see(reader: Principal, entry: HistoryEntry) -> bool:
    """With keys, a caller sees its own judgments and an admin sees all; without keys there is one nameless caller."""
    return reader.admin or entry.by == reader.name


def _texts(pair: Pair) -> Iterator[str]:
    for message in (*pair.question, *pair.a, *pair.b):
        yield message.content
        yield from (call.arguments for call in message.tool_calls)


def _notes(pair: Pair, options: Options) -> Iterator[str]:
    """The other texts of a request, which may have any length."""
    yield pair.rubric or ""
    yield options.deliberation or ""
    for message in (*pair.question, *pair.a, *pair.b):
        yield message.name or ""
        yield message.tool_call_id or ""
        for call in message.tool_calls:
            yield call.name
            yield call.id or ""


def _wire(text: tuple[Message, ...]) -> Any:
    if len(text) == 1 and not text[0].tool_calls and text[0].role in ("user", "assistant"):
        return text[0].content
    return [message.model_dump(mode="json", exclude_defaults=True) for message in text]


def _distinct(values: Iterable[str | None]) -> list[str]:
    return sorted({value for value in values if value})


def _histogram(probabilities: Iterable[float | None]) -> list[int]:
    bins = [0] * BINS
    for probability in probabilities:
        if probability is not None:
            bins[min(BINS - 1, int(probability * BINS))] += 1
    return bins


def _trend(agreements: Sequence[bool]) -> list[dict[str, float]]:
    """Shares of agreement with their 95 % intervals, oldest first, over equally many judgments each."""
    size = max(FEWEST, -(-len(agreements) // CHUNKS))
    points: list[dict[str, float]] = []
    for start in range(len(agreements) % size, len(agreements), size):  # leave out the oldest ones, so that all chunks are full
        agreeing = sum(agreements[start : start + size])
        low, high = wilson(agreeing, size)
        points.append({"share": agreeing / size, "low": low, "high": high, "n": size})
    return points
