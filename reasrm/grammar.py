"""The grammar of a judge's reply, scanned once: where its thought and its parts stand, and which answers count.

A reply is a thought up to `</think>`, then `<type>`, `<rubric>` or `<solution>`, `<eval>`, and `<answer>[[A]]</answer>` (the format
of RM-R1, arXiv 2505.02387, section 3). Inside a thought, a part or a quotation the judge may write about any of these tags, so
these rules decide what counts:

1. No tag counts inside a closed quotation (`<quote_A>...</quote_A>`, `<summary_A>...</summary_A>`).
2. A thought or a part ends at its last closing tag before the last answer; where none precedes an answer, at its last closing tag.
   A rubric and a solution end before `<eval>` in any case, and a closed part before the next one of its name.
3. An answer counts outside of the thought and the parts. A part without a closing tag hides all answers, except one that ends the
   reply on a line of its own.
4. In a reply that hit the token limit, an answer counts only where a thought or a part was closed before it, and where it begins a
   line or follows a tag. All else may be a sentence about an answer.

Every step takes time in proportion to the reply's length (the searches by bisection add a logarithm).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

#: The tags of a reply. `reasrm.prompts` keeps look-alikes of them out of the texts that are judged.
REPLY_TAGS = (
    *("type", "rubric", "justify", "solution", "eval", "answer", "think"),
    *("quote_A", "quote_B", "summary_A", "summary_B"),
)
#: An answer with its letter.
ANSWER = re.compile(r"<answer>\s*\[\[\s*(?P<letter>[AB])\s*\]\]", re.IGNORECASE)

_QUOTATIONS = ("quote_a", "quote_b", "summary_a", "summary_b")
_PARTS = ("rubric", "justify", "solution", "eval")
_TAG = re.compile(rf"{ANSWER.pattern}|<(?P<slash>/?)(?P<name>think|{'|'.join((*_PARTS, *_QUOTATIONS))})>", re.IGNORECASE)
_END = re.compile(r"\s*(?:</answer>\s*)*\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag at `start` to `end` of the reply. `name` is in lower case; `letter` is where an answer's letter stands."""

    kind: Literal["opening", "closing", "answer"]
    name: str
    start: int
    end: int
    letter: int = -1


@dataclass(frozen=True, slots=True)
class Span:
    """The text from `start` to `end` between two tags; `after` is where the reply goes on. `closed`: it has a closing tag."""

    name: str
    start: int
    end: int
    after: int
    closed: bool


@dataclass(frozen=True, slots=True)
class Scan:
    """A reply taken apart: `thought` (None where no `</think>` closes one), `parts` and `quotations` in their order, and the
    answers that count."""

    reply: str
    thought: Span | None
    parts: tuple[Span, ...]
    quotations: tuple[Span, ...]
    answers: tuple[Tag, ...]

    @property
    def body(self) -> str:
        """What follows the thought."""
        return self.reply[self.thought.after if self.thought else 0 :]

    def part(self, name: str) -> Span | None:
        """The first part of that name, None where there is none."""
        return next((part for part in self.parts if part.name == name), None)


def scan(reply: str, *, truncated: bool = False) -> Scan:
    """Take `reply` apart by the rules above; `truncated` says that it hit the token limit."""
    tags = [_tag_of(match) for match in _TAG.finditer(reply)]
    quotations = _quotations(reply, tags)
    tags = _outside([span for span in quotations if span.closed], tags)
    answers = [tag for tag in tags if tag.kind == "answer"]
    last_answer = answers[-1].start if answers else len(reply)
    thought = _thought(reply, tags, last_answer)
    body = thought.after if thought else 0
    final = len(reply) if truncated else _own_line(reply, answers)
    parts = _parts(reply, [tag for tag in tags if tag.start >= body], last_answer, final)
    counting = [tag for tag in _outside(parts, answers) if tag.start >= body]
    if truncated:
        closed = min((part.after for part in parts if part.closed), default=len(reply)) if thought is None else body
        counting = [tag for tag in counting if tag.start >= closed and _begins_line(reply, tag.start)]
    return Scan(reply=reply, thought=thought, parts=tuple(parts), quotations=tuple(quotations), answers=tuple(counting))


def _tag_of(match: re.Match[str]) -> Tag:
    if match["letter"]:
        return Tag("answer", "answer", match.start(), match.end(), match.start("letter"))
    return Tag("closing" if match["slash"] else "opening", match["name"].lower(), match.start(), match.end())


def _quotations(reply: str, tags: Sequence[Tag]) -> list[Span]:
    """The outermost quotations. One that is opened again before it is closed is unclosed, and ends at the next quotation's tag."""
    marks = [tag for tag in tags if tag.name in _QUOTATIONS]
    open_at: dict[str, int] = {}
    closings: dict[int, Tag] = {}
    for at, tag in enumerate(marks):
        if tag.kind == "opening":
            open_at[tag.name] = at
        elif tag.name in open_at:
            closings[open_at.pop(tag.name)] = tag
    spans: list[Span] = []
    for at, tag in enumerate(marks):
        if tag.kind == "closing" or (spans and tag.start < spans[-1].after):
            continue
        if closing := closings.get(at):
            spans.append(Span(tag.name, tag.end, closing.start, closing.end, closed=True))
        else:
            end = marks[at + 1].start if at + 1 < len(marks) else len(reply)
            spans.append(Span(tag.name, tag.end, end, end, closed=False))
    return spans


def _thought(reply: str, tags: Sequence[Tag], last_answer: int) -> Span | None:
    closing = _closing([tag for tag in tags if tag.name == "think" and tag.kind == "closing"], 0, len(reply), last_answer)
    return closing and Span("think", 0, closing.start, closing.end, closed=True)


def _parts(reply: str, tags: Sequence[Tag], last_answer: int, final: int) -> list[Span]:
    """The parts one after another; `final` is where an unclosed one ends at the latest."""
    closings = {name: [tag for tag in tags if tag.kind == "closing" and tag.name == name] for name in _PARTS}
    openings = {name: [tag.start for tag in tags if tag.kind == "opening" and tag.name == name] for name in _PARTS}
    spans: list[Span] = []
    for tag in tags:
        if tag.kind != "opening" or tag.name not in _PARTS or (spans and tag.start < spans[-1].after):
            continue
        limit = len(reply) if tag.name == "eval" else _next(openings["eval"], tag.end, len(reply))
        again = _next(openings[tag.name], tag.end, limit)
        closing = _closing(closings[tag.name], tag.end, min(again, limit), last_answer) or _closing(
            closings[tag.name], tag.end, limit, last_answer
        )
        if closing:
            spans.append(Span(tag.name, tag.end, closing.start, closing.end, closed=True))
        else:
            end = max(tag.end, min(limit, final))
            spans.append(Span(tag.name, tag.end, end, end, closed=False))
    return spans


def _next(places: Sequence[int], after: int, otherwise: int) -> int:
    """The first of `places` (ascending) from `after` on."""
    at = bisect_left(places, after)
    return places[at] if at < len(places) else otherwise


def _closing(closings: Sequence[Tag], start: int, end: int, last_answer: int) -> Tag | None:
    """The last of `closings` between `start` and `end` that precedes the last answer; else the last one there; else None."""
    for limit in (min(end, last_answer), end):
        at = bisect_left(closings, limit, key=lambda tag: tag.start) - 1
        if at >= 0 and closings[at].start >= start:
            return closings[at]
    return None


def _outside(spans: Sequence[Span], tags: Sequence[Tag]) -> list[Tag]:
    """The tags in `tags` that are outside of all `spans`; both are in the reply's order, and the spans do not overlap."""
    starts = [span.start for span in spans]
    return [tag for tag in tags if (at := bisect_left(starts, tag.end)) == 0 or tag.start >= spans[at - 1].end]


def _own_line(reply: str, answers: Sequence[Tag]) -> int:
    """Where the last answer begins, if it ends the reply on a line of its own; else the reply's end."""
    if answers and _begins_line(reply, answers[-1].start) and _END.match(reply, answers[-1].end):
        return answers[-1].start
    return len(reply)


def _begins_line(reply: str, at: int) -> bool:
    """Whether `at` is the first place of a line, or follows a tag."""
    while at > 0 and reply[at - 1] in " \t":
        at -= 1
    return at == 0 or reply[at - 1] in "\n>"
