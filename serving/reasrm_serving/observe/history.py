"""The latest judgments of this gateway, for people to look at: bounded in number and bytes, and kept nowhere else.

Noting one costs next to nothing, since loops ask thousands a second; what a reader wants to know is worked out when one reads.
"""

from __future__ import annotations

import math
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

MAX_BYTES = 64 * 2**20  # of texts, whatever the number
BINS, CHUNKS, FEWEST = 20, 40, 5  # of the histogram; of the trend, and the fewest judgments in one of its chunks
RATE_S = 60.0
SHOWN = 240  # characters of a question in a list


@dataclass(frozen=True)
class HistoryEntry:
    """A judgment given to the holder of the key `by` at `at` (Unix seconds), after `seconds`; `id` is its key in the cache."""

    id: str
    at: float
    by: str
    caller: Caller
    pair: Pair
    options: Options
    reply: JudgmentJson
    seconds: float
    cached: bool
    size: int

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The winner, P(A), whether the orders agree, and the tokens."""
        usage = orjson.loads(self.reply.judgment)["usage"]
        return orjson.loads(self.reply.derived) | {"tokens": usage["prompt_tokens"] + usage["completion_tokens"]}

    @property
    def reason(self) -> str | None:
        """Why there is no verdict, where there is none."""
        return None if self.reply.label in ("A", "B") else self.reply.label

    @cached_property
    def folded(self) -> str:
        """All texts of the pair, for searching."""
        return "\n".join(_texts(self.pair)).casefold()

    def row(self) -> dict[str, Any]:
        """Its line in a list."""
        question = next((m.content for m in reversed(self.pair.question) if m.role == "user"), self.pair.question[-1].content)
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
        }

    def request(self) -> dict[str, Any]:
        """The request that would ask for it again."""
        texts = {name: _wire(getattr(self.pair, name)) for name in ("question", "a", "b")}
        rubric = {"rubric": self.pair.rubric} if self.pair.rubric else {}
        return texts | rubric | self.options.model_dump(mode="json", exclude_defaults=True)


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """What to look for; what is empty matches everything. `outcome` is a winner or a reason."""

    q: str = ""
    run: str = ""
    subset: str = ""
    outcome: str = ""
    disagree: bool = False

    def matches(self, noted: HistoryEntry) -> bool:
        """Whether it is such a one."""
        return (
            (not self.run or noted.caller.run == self.run)
            and (not self.subset or noted.caller.subset == self.subset)
            and (not self.outcome or noted.reply.label == self.outcome)
            and (not self.disagree or noted.facts["order_consistent"] is False)
            and (not self.q or self.q.casefold() in noted.folded)
        )


@dataclass(slots=True)
class History:
    """The latest `keep` judgments; 0 keeps none."""

    keep: int
    clock: Callable[[], float] = time.time
    _all: deque[HistoryEntry] = field(default_factory=deque[HistoryEntry])
    _bytes: int = 0
    _gone_at: float = -math.inf  # when the latest of those that made room was given

    def note(self, key: str, pair: Pair, options: Options, reply: JudgmentJson, seconds: float, *, cached: bool) -> None:
        """Remember a judgment that was given to a caller."""
        if not self.keep:
            return
        size = len(reply.judgment) + sum(map(len, _texts(pair)))
        self._all.append(
            HistoryEntry(
                key, self.clock(), principal.get().name, caller.get() or Caller(), pair, options, reply, seconds, cached, size
            )
        )
        self._bytes += size
        while len(self._all) > self.keep or self._bytes > MAX_BYTES:
            gone = self._all.popleft()
            self._bytes, self._gone_at = self._bytes - gone.size, gone.at

    def find(self, key: str, reader: Principal) -> HistoryEntry | None:
        """The latest judgment of that id, if `reader` may see it."""
        return next((noted for noted in reversed(self._all) if noted.id == key and _may_see(reader, noted)), None)

    def search(self, wanted: HistoryQuery, limit: int, reader: Principal) -> dict[str, Any]:
        """The newest `limit` matches, and all matches in numbers, of those that `reader` may see."""
        visible = [noted for noted in self._all if _may_see(reader, noted)]
        found = [noted for noted in visible if wanted.matches(noted)]
        # Where loops ask more than is kept of a minute, the rate is that of the time of which all are kept.
        since = max(self.clock() - RATE_S, self._gone_at)
        span = max(1.0, self.clock() - since)
        both = [noted.facts["order_consistent"] for noted in found if noted.facts["order_consistent"] is not None]
        return {
            "kept": len(visible),
            "matching": len(found),
            "cached": sum(noted.cached for noted in found),
            "no_verdict": sum(noted.reason is not None for noted in found),
            "both_orders": len(both),
            "consistent": sum(both),
            "rate_per_s": sum(noted.at > since for noted in found) / span,
            "rate_over_s": span,
            "runs": _distinct(noted.caller.run for noted in visible),
            "subsets": _distinct(noted.caller.subset for noted in visible),
            "reasons": _distinct(noted.reason for noted in visible),
            "histogram": _histogram(noted.facts["probability_a"] for noted in found),
            "trend": _trend(both),
            "items": [noted.row() for noted in reversed(found[-limit:] if limit else [])],
        }


def _may_see(reader: Principal, noted: HistoryEntry) -> bool:
    """Where callers have keys, each sees its own, and an admin all; without keys there is one nameless caller."""
    return reader.admin or noted.by == reader.name


def _texts(pair: Pair) -> Iterator[str]:
    for message in (*pair.question, *pair.a, *pair.b):
        yield message.content
        yield from (call.arguments for call in message.tool_calls)


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
    for start in range(len(agreements) % size, len(agreements), size):  # whole chunks, so that the newest is one too
        agreeing = sum(agreements[start : start + size])
        low, high = wilson(agreeing, size)
        points.append({"share": agreeing / size, "low": low, "high": high, "n": size})
    return points
