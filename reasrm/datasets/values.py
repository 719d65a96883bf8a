"""What the readers share: a cell of a table into texts, messages and numbers, or an `InputError` that names the column."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from reasrm.errors import InputError

Row = Mapping[str, Any]
#: A message as `reasrm.types.Message` takes it.
Turn = dict[str, Any]
_KINDS = {"NoneType": "null", "str": "a text", "list": "a list", "dict": "an object", "bool": "a truth value"} | {
    "int": "a number",
    "float": "a number",
}


def cell(row: Row, column: str) -> Any:
    """The cell's value. Raises InputError where it is missing or null."""
    value = row.get(column)
    if value is None:
        raise InputError(f"{column} is {'null' if column in row else 'missing'}", field=column)
    return value


def text(row: Row, column: str) -> str:
    """The cell as a text."""
    value = cell(row, column)
    if not isinstance(value, str):
        raise InputError(f"{column} is {_kind(value)}, not a text", field=column)
    return value


def number(row: Row, column: str) -> float:
    """The cell as a number (a text that spells one is one)."""
    value = cell(row, column)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"{column} is {_short(value)}, not a number", field=column) from None


def name(row: Row, *columns: str) -> str:
    """The first of `columns` that is there, as a name; empty where none is."""
    return next((str(row[column]) for column in columns if row.get(column) not in (None, "")), "")


def items(row: Row, column: str) -> list[Any]:
    """The cell as a list; a text is read as JSON, as tables without lists keep them."""
    value = cell(row, column)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise InputError(f"{column} is a text, not a list", field=column) from None
    if not isinstance(value, Sequence):
        raise InputError(f"{column} is {_kind(value)}, not a list", field=column)
    return list(cast(Sequence[Any], value))


def texts(row: Row, column: str) -> list[str]:
    """The cell as a list of texts."""
    values = items(row, column)
    for i, value in enumerate(values):
        if not isinstance(value, str):
            raise InputError(f"{column}[{i}] is {_kind(value)}, not a text", field=column)
    return values


def turns(row: Row, column: str) -> list[Turn]:
    """The cell as messages; keys that messages do not have are left out."""
    values = items(row, column)
    if not values:
        raise InputError(f"{column} is an empty list", field=column)
    return [_turn(value, f"{column}[{i}]") for i, value in enumerate(values)]


def content(row: Row, column: str) -> str | list[Turn]:
    """The cell as a text or as messages, whichever it is."""
    value = cell(row, column)
    return value if isinstance(value, str) else turns(row, column)


def shared_question(a: list[Turn], b: list[Turn]) -> tuple[list[Turn], list[Turn], list[Turn]]:
    """Two whole conversations as (question, response, response): the question is what they share, up to the last request."""
    shared = 0
    while shared < min(len(a), len(b)) - 1 and a[shared] == b[shared]:
        shared += 1
    while shared and a[shared - 1]["role"] not in ("user", "tool"):
        shared -= 1
    if shared == 0:
        raise InputError("the conversations share no question")
    return a[:shared], a[shared:], b[shared:]


def dialogue(value: str, mark: str, roles: Mapping[str, str]) -> list[Turn]:
    """A dialogue written as one text: `mark` is a pattern with one group, the speaker, whom `roles` maps to a role.

    Text before the first mark is a user's. Empty turns are left out.
    """
    first, *rest = re.split(mark, value)
    spoken = [("user", first), *((roles[who], said) for who, said in zip(rest[::2], rest[1::2], strict=True))]
    return [{"role": role, "content": said.strip()} for role, said in spoken if said.strip()]


def _turn(value: Any, where: str) -> Turn:
    if not isinstance(value, Mapping) or "role" not in value:
        raise InputError(f"{where} is {_kind(value)}, not a message with role and content", field=where)
    message = cast(Mapping[str, Any], value)
    turn: Turn = {"role": message["role"], "content": _content(message.get("content"), where)}
    for key in ("tool_calls", "name", "tool_call_id"):
        if message.get(key):
            turn[key] = message[key] if key != "tool_calls" else [_call(call, where) for call in message[key]]
    return turn


def _content(value: Any, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        parts = cast(Sequence[Any], value)
        if all(isinstance(part, Mapping) and cast(Row, part).get("type") == "text" for part in parts):
            return "\n".join(str(part["text"]) for part in parts)
    raise InputError(f"{where}.content is {_kind(value)}: only text can be judged", field=where)


def _call(value: Any, where: str) -> dict[str, Any]:
    """A tool call in our form or in OpenAI's, where a `function` holds name and arguments."""
    if not isinstance(value, Mapping):
        raise InputError(f"{where}.tool_calls holds {_kind(value)}", field=where)
    call = cast(Mapping[str, Any], value)
    function = cast(Mapping[str, Any], call.get("function") or call)
    arguments = function.get("arguments", "{}")
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"name": function.get("name"), "arguments": written, "id": call.get("id")}


def _kind(value: Any) -> str:
    kind = type(value).__name__
    return _KINDS.get(kind, kind)


def _short(value: Any) -> str:
    written = repr(value)
    return written if len(written) <= 40 else written[:37] + "..."
