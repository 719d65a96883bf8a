"""Cleans preference data: flips or drops labels by their measured strength, and removes duplicates.

After arXiv 2401.06080: labels that judges are clearly against are flipped or dropped, and the strength of the others becomes a
margin. Every row's action is written down with its reason.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reasrm.datasets import DataRow, Example
from reasrm.datasets.question_parts import tools_of, without_tools
from reasrm.messages import ToolCall
from reasrm.quality.near import Near
from reasrm.quality.strength import Strength
from reasrm.types import Frozen, Message

#: A margin's greatest size, the logit of P = 0.99: replies that all agree give P = 1, whose logit is infinite.
MOST_MARGIN = math.log(0.99 / 0.01)


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a cleaning. Strengths are in [-1, 1], as in `Strength`; None switches a rule off.

    `flip_below`: chosen and rejected are exchanged where the strength is less; `drop_below`: rows that then still have less are
    dropped. `margin`: rows get the margin that TRL's RewardTrainer subtracts, in logits (`margin_of`); rows without a strength are
    dropped, as that trainer takes a margin for every row or for none. `near` in (0, 1]: rows this similar are one row.
    """

    flip_below: float | None = None
    drop_below: float | None = None
    margin: bool = False
    near: float | None = 0.8


class Action(Frozen):
    """The change to one row, and its reason."""

    index: int
    file: str
    row: int
    id: str
    action: Literal["kept", "flipped", "dropped"]
    reason: str = ""
    strength: float | None = None


def clean(
    rows: Iterable[DataRow],
    rules: Rules,
    strengths: Mapping[int, Strength] | None = None,
    benchmarks: Sequence[Example] = (),
) -> Iterator[tuple[Action, dict[str, Any] | None]]:
    """Yields for each row its action and the cleaned row (None if it is dropped).

    `benchmarks` are examples: rows with the same or nearly the same question are dropped.
    """
    earlier = _EarlierRows(rules.near, benchmarks)
    for row in rows:
        measured = (strengths or {}).get(row.index)
        strength = measured.strength if measured else None
        about: dict[str, Any] = {"index": row.index, "file": row.file, "row": row.number, "id": row.id}
        reason = _unusable(row) or earlier.reason(row)
        flip = strength is not None and rules.flip_below is not None and strength < rules.flip_below
        lean = -strength if flip and strength is not None else strength
        reason = reason or _too_weak(lean, rules)
        if reason or row.example is None:
            yield Action(**about, action="dropped", reason=reason, strength=strength), None
            continue
        why = f"strength {strength:+.2f} is below {rules.flip_below:+.2f}" if flip else ""
        action = Action(**about, action="flipped" if flip else "kept", reason=why, strength=strength)
        yield action, _cleaned(row, row.example, flip, margin_of(lean) if rules.margin and lean is not None else None)


def margin_of(strength: float) -> float:
    """The margin in logits of a strength s = 2P - 1: log(P / (1 - P)), at most that of P = 0.99.

    TRL's RewardTrainer minimises -log sigmoid(r_chosen - r_rejected - margin), so that rewards come to differ by it (Llama 2,
    arXiv 2307.09288). A negative margin belongs to a label that the judges are against.
    """
    limit = math.tanh(MOST_MARGIN / 2)
    return 2.0 * math.atanh(min(limit, max(-limit, strength)))


def _too_weak(lean: float | None, rules: Rules) -> str:
    if lean is None:
        return "not measured: a margin needs a strength" if rules.margin else ""
    if rules.drop_below is not None and lean < rules.drop_below:
        return f"weak: strength {lean:+.2f} is below {rules.drop_below:+.2f}"
    return ""


def _unusable(row: DataRow) -> str:
    if row.example is None:
        return f"unreadable: {row.error}"
    if row.example.winner is None:
        return "no labelled pair" if row.example.is_pair else "not a pair"
    return "equal responses" if _spaced(row.example.responses[0]) == _spaced(row.example.responses[1]) else ""


def _cleaned(row: DataRow, example: Example, flip: bool, margin: float | None) -> dict[str, Any]:
    """A preference row as TRL reads it: prompt, chosen and rejected as messages, the tools as they were."""
    chosen, rejected = (example.rejected, example.chosen) if flip else (example.chosen, example.rejected)
    prompt = as_openai(example.question)
    tools = tools_of(row.row) if row.row.get("tools") else []
    cleaned: dict[str, Any] = {
        "id": row.id,
        "prompt": without_tools(prompt) if tools else prompt,
        "chosen": as_openai(chosen or ()),
        "rejected": as_openai(rejected or ()),
        "subset": example.subset,
    }
    cleaned |= {"tools": tools} if tools else {}
    return cleaned | ({"margin": margin} if margin is not None else {})


def as_openai(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as chat templates take them: a tool call is nested in `function`, and its arguments are an object.

    OpenAI's API has the arguments as a text. Templates of open models serialise them as JSON, which would quote such a text a
    second time. A text that is not a JSON object stays a text.
    """
    return [_openai_message(message) for message in messages]


def _openai_message(message: Message) -> dict[str, Any]:
    written: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        written["tool_calls"] = [_openai_call(call) for call in message.tool_calls]
    optional = {"name": message.name, "tool_call_id": message.tool_call_id}
    return written | {key: value for key, value in optional.items() if value is not None}


def _openai_call(call: ToolCall) -> dict[str, Any]:
    try:
        arguments: Any = json.loads(call.arguments)
    except (ValueError, RecursionError):
        arguments = call.arguments
    if not isinstance(arguments, dict):
        arguments = call.arguments
    function: dict[str, Any] = {"name": call.name, "arguments": arguments}
    return {"type": "function", "function": function} | ({"id": call.id} if call.id is not None else {})


class _EarlierRows:
    """The rows so far and the benchmarks' questions: equal ones up to white space and case, and nearly equal ones."""

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

    def reason(self, row: DataRow) -> str:
        """Why this row is a duplicate or contamination; empty if it is neither, and then it is remembered."""
        example = row.example
        if example is None:
            return ""
        question = _folded(example.question)
        equal = self._questions.get(_digest(question))
        if equal is not None:
            return f"contamination: asks what {equal} asks"
        like = self._near_questions.like(question) if self._near_questions is not None else None
        if like is not None:
            return f"contamination: asks nearly what {like} asks"
        return self._double(row, example, question)

    def _double(self, row: DataRow, example: Example, question: str) -> str:
        sides = sorted(_folded(response) for response in example.responses)
        whole = "\0".join([question, *sides])
        chosen = _folded(example.chosen or ())
        where, label = self._rows.setdefault(_digest(whole), (row.where, chosen))
        if where != row.where:
            return f"duplicate of {where}" if label == chosen else f"contradicts {where}"
        like = self._near_rows.seen(row.where, whole) if self._near_rows is not None else None
        return f"nearly a duplicate of {like}" if like is not None else ""


def _folded(messages: Sequence[Message]) -> str:
    """Every text and every call, without differences of case and of white space within lines."""
    return _spaced(messages).casefold()


def _spaced(messages: Sequence[Message]) -> str:
    """Every text and every call, without differences of white space that change no text.

    How a line is indented stays: it is part of a program. Where it ends, blank lines, and runs of spaces within it do not.
    """
    parts: list[str] = []
    for message in messages:
        lines = [line for line in message.content.strip().expandtabs().splitlines() if line.strip()]
        calls = [f"{call.name} {_canonical(call.arguments)}" for call in message.tool_calls]
        speaker = [message.role] if len(messages) > 1 else []
        parts += [*speaker, *(_INNER_SPACE.sub(" ", line).rstrip() for line in lines), *calls]
    return "\n".join(parts)


_INNER_SPACE = re.compile(r"(?<=\S)\s+")


def _canonical(arguments: str) -> str:
    """The arguments of a call in a canonical form."""
    try:
        return json.dumps(json.loads(arguments), sort_keys=True, ensure_ascii=False)
    except (ValueError, RecursionError):
        return arguments


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=16).digest()
