"""Where a reply ends although its engine goes on: at a stop string that the engine ignores, and where the reply repeats itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

SHORTEST, LONGEST = 20, 400  # characters of a repeated block
TIMES = 4  # so many equal blocks in a row are a repetition ...
LEAST = 240  # ... if they are so many characters together: a judge may quote a response that says "ha ha ha"


def stop_in(text: str, stops: Sequence[str]) -> int | None:
    """Where the first stop string in `text` begins; None without one."""
    return min((at for stop in stops if stop and (at := text.find(stop)) >= 0), default=None)


def repeats_itself(text: str) -> bool:
    """Whether `text` ends in at least `TIMES` equal blocks with letters or digits, of `SHORTEST` to `LONGEST` characters each."""
    tail = text[-LONGEST * TIMES :]
    end = tail[-SHORTEST:]
    before = len(tail) - SHORTEST
    while len(tail) >= LEAST and (before := tail.rfind(end, 0, before + SHORTEST - 1)) >= 0:
        length = len(tail) - SHORTEST - before
        if length > LONGEST:
            return False
        repeated = max(TIMES * length, LEAST)
        if length >= SHORTEST and len(tail) >= repeated and tail[-repeated:-length] == tail[length - repeated :]:
            return re.search(r"\w", tail[-length:]) is not None
    return False


class StreamCutter:
    """Passes the pieces of a stream on until the reply is over.

    `ended` says why it is over: "stop" at a stop string, "length" where the reply repeats itself; None while it goes on. Text that
    may be the beginning of a stop string is held back; `rest` is that text when the stream has ended.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.ended: str | None = None
        self.rest = ""
        self._stops = [stop for stop in stops if stop]
        self._tail = ""

    def add(self, piece: str) -> str:
        """The text to pass on after `piece`."""
        text = self.rest + piece
        at = stop_in(text, self._stops)
        if at is not None:
            self.ended, self.rest = "stop", ""
            return text[:at]
        held = max((_overlap(text, stop) for stop in self._stops), default=0)
        self.rest = text[len(text) - held :]
        self._tail = (self._tail + piece)[-LONGEST * TIMES :]
        if piece and repeats_itself(self._tail):
            self.ended = "length"
        return text[: len(text) - held]


def _overlap(text: str, stop: str) -> int:
    """The number of characters at the end of `text` with which `stop` may begin."""
    return next((count for count in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:count])), 0)
