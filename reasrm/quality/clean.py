"""Preference data cleaned: labels flipped, dropped or softened by their measured strength, and duplicates taken out.

After arXiv 2401.06080: labels that judges are clearly against are flipped or dropped, weak ones are smoothed or given their
strength as a margin. Whatever is done is told row by row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reasrm.datasets import DataRow, Example
from reasrm.quality.near import Near
from reasrm.quality.strength import Strength
from reasrm.types import Frozen, Message


@dataclass(frozen=True, slots=True)
class Rules:
    """What is done. Strengths are in [-1, 1], as `Strength` has them; None switches a rule off.

    `flip_below`: labels with less strength are turned round; `drop_below`: what then still has less is dropped; `smooth`: a soft
    label is added, the probability that the chosen response is better, no further than this from the judges' (1 + strength) / 2;
    `margin`: the strength is added as a margin. `near` in (0, 1]: rows this similar are one row.
    """

    flip_below: float | None = None
    drop_below: float | None = None
    smooth: float | None = None
    margin: bool = False
    near: float | None = 0.8


class Action(Frozen):
    """What was done to one row, and why."""

    index: int
    file: str
    row: int
    id: str
    action: Literal["kept", "flipped", "dropped"]
    reason: str = ""
    strength: float | None = None


def clean(
    entries: Iterable[DataRow],
    rules: Rules,
    strengths: Mapping[int, Strength] | None = None,
    benchmarks: Sequence[Example] = (),
) -> Iterator[tuple[Action, dict[str, Any] | None]]:
    """What becomes of each row: its action, and the cleaned row, None where it is dropped.

    `benchmarks` are examples whose questions no row may ask, or nearly.
    """
    seen = _EarlierRows(rules.near, benchmarks)
    for entry in entries:
        known = (strengths or {}).get(entry.index)
        strength = known.strength if known else None
        about: dict[str, Any] = {"index": entry.index, "file": entry.file, "row": entry.number, "id": entry.id}
        reason = _unusable(entry) or seen.reason(entry)
        flip = strength is not None and rules.flip_below is not None and strength < rules.flip_below
        lean = -strength if flip and strength is not None else strength
        if not reason and rules.drop_below is not None and lean is not None and lean < rules.drop_below:
            reason = f"weak: strength {lean:+.2f} is below {rules.drop_below:+.2f}"
        if reason or entry.example is None:
            yield Action(**about, action="dropped", reason=reason, strength=strength), None
            continue
        why = f"strength {strength:+.2f} is below {rules.flip_below:+.2f}" if flip else ""
        action = Action(**about, action="flipped" if flip else "kept", reason=why, strength=strength)
        yield action, _row(entry, entry.example, rules, flip, lean)


def _unusable(entry: DataRow) -> str:
    if entry.example is None:
        return f"unreadable: {entry.error}"
    if entry.example.winner is None:
        return "no labelled pair" if entry.example.is_pair else "not a pair"
    return "equal responses" if _folded(entry.example.responses[0]) == _folded(entry.example.responses[1]) else ""


def _row(entry: DataRow, example: Example, rules: Rules, flip: bool, lean: float | None) -> dict[str, Any]:
    """A preference row as TRL reads it (prompt, chosen, rejected as messages)."""
    chosen, rejected = (example.rejected, example.chosen) if flip else (example.chosen, example.rejected)
    row: dict[str, Any] = {
        "id": entry.id,
        "prompt": _messages(example.question),
        "chosen": _messages(chosen or ()),
        "rejected": _messages(rejected or ()),
        "subset": example.subset,
    }
    if rules.smooth is not None:
        row["chosen_probability"] = 1.0 if lean is None else max(1.0 - rules.smooth, (1.0 + lean) / 2.0)
    if rules.margin:
        row["margin"] = lean
    return row


class _EarlierRows:
    """The rows so far and the benchmarks' questions: exact after white space and case are folded, and nearly."""

    def __init__(self, near: float | None, benchmarks: Sequence[Example]) -> None:
        self._rows: dict[bytes, tuple[str, str]] = {}
        self._near_rows = Near(near) if near is not None else None
        self._near_questions = Near(near) if near is not None else None
        self._questions: dict[bytes, str] = {}
        for number, example in enumerate(benchmarks):
            question = _folded(example.question)
            name = f"{example.subset or 'benchmark'} {example.id or number}"
            self._questions.setdefault(_digest(question), name)
            if self._near_questions is not None:
                self._near_questions.add(name, question)

    def reason(self, entry: DataRow) -> str:
        """Why this row is one too many; empty where it is not, and then it is remembered."""
        example = entry.example
        if example is None:
            return ""
        question = _folded(example.question)
        known = self._questions.get(_digest(question))
        if known is not None:
            return f"contamination: asks what {known} asks"
        like = self._near_questions.like(question) if self._near_questions is not None else None
        if like is not None:
            return f"contamination: asks nearly what {like} asks"
        return self._double(entry, example, question)

    def _double(self, entry: DataRow, example: Example, question: str) -> str:
        sides = sorted(_folded(response) for response in example.responses)
        whole = "\0".join([question, *sides])
        chosen = _folded(example.chosen or ())
        where, label = self._rows.setdefault(_digest(whole), (entry.where, chosen))
        if where != entry.where:
            return f"duplicate of {where}" if label == chosen else f"contradicts {where}"
        like = self._near_rows.seen(entry.where, whole) if self._near_rows is not None else None
        return f"nearly a duplicate of {like}" if like is not None else ""


def _folded(messages: Sequence[Message]) -> str:
    return " ".join(" ".join(message.content.split()).casefold() for message in messages)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [message.model_dump(mode="json", exclude_defaults=True) for message in messages]
