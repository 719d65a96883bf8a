"""Cells into conversations: lists of messages, the same written as JSON or as Python's repr, and dialogues in one text."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from reasrm.datasets.values import Row, cell, items_of, kind_of, text_of
from reasrm.errors import InputError

#: A message as `reasrm.types.Message` takes it.
Turn = dict[str, Any]
#: Other names of roles: those of ShareGPT's rows, and OpenAI's newer name for the system.
ROLES = {"human": "user", "gpt": "assistant", "function_call": "assistant", "observation": "tool", "developer": "system"}
HUMAN_ASSISTANT = re.compile(r"\n\n(Human|Assistant): ?")
#: Python's repr of messages is read up to this many characters: its parser takes a hundred times as much memory.
MOST_REPR = 1_000_000
_REPR = re.compile(r"""\[\s*\{\s*(['"])(role|content|from|value)\1\s*:""")


def question(row: Row, column: str) -> str | list[Turn]:
    """The cell as a question: a text, messages in any of their forms, or a dialogue in one text."""
    value = cell(row, column)
    if not isinstance(value, str):
        return turns_of(value, column)
    written = written_messages(value, column)
    if written is not None:
        return turns_of(written, column)
    return human_assistant_turns(value) if is_human_assistant(value) else value


def responses(values: Sequence[Any], names: Sequence[str]) -> list[str | list[Turn]]:
    """The responses of a row, each a text or messages. `names` name them in errors.

    Texts are parsed as messages only if all of them can be: a single response may be a piece of JSON itself.
    """
    if values and all(isinstance(value, str) for value in values):
        written = [written_messages(value, name) for value, name in zip(values, names, strict=True)]
        if any(messages is None for messages in written):
            return list(values)
        values = written
    return [_response(value, where) for value, where in zip(values, names, strict=True)]


def _response(value: Any, where: str) -> str | list[Turn]:
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping | list | tuple):
        raise InputError(f"{where} is {kind_of(value)}, neither a text nor messages", field=where)
    return turns_of(value, where)


def turns(row: Row, column: str) -> list[Turn]:
    """The cell as messages, without keys that messages do not have."""
    value = cell(row, column)
    written = written_messages(value, column) if isinstance(value, str) else None
    return turns_of(value if written is None else written, column)


def turns_of(value: Any, where: str) -> list[Turn]:
    """`value`, a list of messages or a single one, as messages."""
    values: list[Any] = [value] if isinstance(value, Mapping) else items_of(value, where)
    if not values:
        raise InputError(f"{where} is an empty list", field=where)
    return [_turn(message, f"{where}[{i}]") for i, message in enumerate(values)]


def written_messages(value: str, where: str) -> list[Any] | None:
    """The messages that a text holds as JSON or as Python's repr; None for any other text.

    Raises InputError where it begins like Python's repr of messages and cannot be read.
    """
    stripped = value.strip()
    if not (stripped.startswith("[") and stripped.endswith("]")):
        return None
    try:
        parsed = json.loads(stripped)
    except (ValueError, RecursionError):
        if not _REPR.match(stripped) or ("role" not in stripped and "from" not in stripped):
            return None
        parsed = _literal(stripped, where)
    values = cast("list[Any]", parsed) if isinstance(parsed, list) else []
    return values if values and all(_is_message(message) for message in values) else None


def _literal(written: str, where: str) -> Any:
    """Plain data in Python's notation; nothing is called or looked up. Raises InputError."""
    if len(written) > MOST_REPR:
        raise InputError(f"{where} holds messages in Python's notation, too long to read; store them as JSON", field=where)
    try:
        return ast.literal_eval(written)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise InputError(
            f"{where} looks like messages in Python's notation and cannot be read; store them as JSON", field=where
        ) from None


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and ({"role", "content"} <= value.keys() or {"from", "value"} <= value.keys())


def _turn(value: Any, where: str) -> Turn:
    if not isinstance(value, Mapping) or not ("role" in value or "from" in value):
        raise InputError(f"{where} is {kind_of(value)}, not a message with role and content", field=where)
    message = cast(Mapping[str, Any], value)
    share_gpt = "role" not in message
    role = text_of(message["from" if share_gpt else "role"], f"{where}.role")
    turn: Turn = {"role": ROLES.get(role, role), "content": _content(message.get("value" if share_gpt else "content"), where)}
    if message.get("tool_calls"):
        turn["tool_calls"] = [_call(call, where) for call in items_of(message["tool_calls"], f"{where}.tool_calls")]
    return turn | {key: text_of(message[key], f"{where}.{key}") for key in ("name", "tool_call_id") if message.get(key)}


def _content(value: Any, where: str) -> str:
    """A message's content as one text: null becomes empty, and text parts become lines."""
    if value is None or isinstance(value, str):
        return value or ""
    parts = items_of(value, f"{where}.content")
    return "\n".join(_part(part, f"{where}.content[{i}]") for i, part in enumerate(parts))


def _part(part: Any, where: str) -> str:
    line = cast(Row, part).get("text") if isinstance(part, Mapping) else part
    if not isinstance(line, str):
        raise InputError(f"{where} holds no text: only text can be judged", field=where)
    return line


def _call(value: Any, where: str) -> dict[str, Any]:
    """A tool call in our form or in OpenAI's, where a `function` holds name and arguments."""
    if not isinstance(value, Mapping):
        raise InputError(f"{where}.tool_calls holds {kind_of(value)}", field=where)
    call = cast(Mapping[str, Any], value)
    function = cast(Mapping[str, Any], call["function"] if isinstance(call.get("function"), Mapping) else call)
    identity = call.get("id")
    return {
        "name": text_of(function.get("name"), f"{where}.tool_calls.name"),
        "arguments": _arguments(function.get("arguments"), where),
        "id": None if identity is None else str(identity),
    }


def _arguments(value: Any, where: str) -> str:
    if value is None or isinstance(value, str):
        return value or "{}"
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        raise InputError(f"{where}.tool_calls.arguments is {kind_of(value)}, which JSON cannot hold", field=where) from None


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


def is_human_assistant(value: Any) -> bool:
    """Whether `value` is a dialogue in hh-rlhf's form: one text that begins with a turn of Human."""
    return isinstance(value, str) and (value.startswith("\n\nHuman:") or (value.startswith("Human:") and "\n\nAssistant:" in value))


def human_assistant_turns(value: str) -> list[Turn]:
    """A dialogue in hh-rlhf's form as turns; a last turn of the assistant without a text is left out."""
    turns = human_assistant_dialogue(value)
    return turns if turns[-1]["content"] or turns[-1]["role"] == "user" else turns[:-1]


def human_assistant_dialogue(value: str) -> list[Turn]:
    """A dialogue in hh-rlhf's form as turns. It keeps a last assistant turn even if that is empty, since that is the response."""
    marked = value if value.startswith("\n\n") else "\n\n" + value
    return dialogue(marked, HUMAN_ASSISTANT, {"Human": "user", "Assistant": "assistant"})


def dialogue(value: str, mark: re.Pattern[str], roles: Mapping[str, str]) -> list[Turn]:
    """A dialogue written as one text: `mark` has one group, the speaker, whom `roles` maps to a role.

    Text before the first mark belongs to the user. Empty turns are left out, except for a last turn of the assistant.
    """
    first, *rest = mark.split(value)
    turns: list[Turn] = [{"role": "user", "content": first.strip()}]
    turns += [{"role": roles[speaker], "content": text.strip()} for speaker, text in zip(rest[::2], rest[1::2], strict=True)]
    last = turns[-1]
    return [turn for turn in turns if turn["content"] or (turn is last and turn["role"] == "assistant")]
