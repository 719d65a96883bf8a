"""The parts of a question that stand in columns of their own: the system prompt, the input, earlier turns, the tools.

All that the model saw belongs to the question. A judge that does not see it judges another question.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from reasrm.datasets.conversations import Turn
from reasrm.datasets.values import Row, items, items_of, text, text_of
from reasrm.errors import InputError
from reasrm.messages import EMPTY

#: The columns that complete a question, in the order in which they are put to it.
PARTS = ("input", "history", "system", "tools")
TOOLS = "The assistant may call these tools:\n"


def whole_question(row: Row, question: str | list[Turn], columns: frozenset[str]) -> list[Turn]:
    """`question` as messages, completed by those of PARTS that are among `columns` and hold something in `row`.

    Turns without any text are left out. Raises InputError where nothing is left.
    """
    turns: list[Turn] = [{"role": "user", "content": question}] if isinstance(question, str) else question
    present = [column for column in PARTS if column in columns and row.get(column) not in (None, "", [])]
    if isinstance(question, str) and not question.strip() and "input" in present:
        present.remove("input")
        turns[0]["content"] = text(row, "input")
    turns = [turn for turn in turns if not _is_empty(turn)]
    if not turns:
        raise InputError("the question is empty", field="question")
    for column in present:
        turns = _COMPLETED[column](row, turns)
    return turns


def filled_response(response: str | list[Turn]) -> str | list[Turn]:
    """`response` with `EMPTY` in place of an empty text, since an empty response is an answer too."""
    if isinstance(response, str):
        return response if response.strip() else EMPTY
    kept = [turn for turn in response if turn["role"] == "assistant" or not _is_empty(turn)]
    return [turn | {"content": EMPTY} if _is_empty(turn) else turn for turn in kept]


def without_tools(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages of a question without the definitions of tools that `whole_question` put at the end of the system prompt."""
    before, mark, _ = messages[0]["content"].rpartition(TOOLS)
    if not mark:
        return messages
    prompt = before.removesuffix("\n\n")
    return [messages[0] | {"content": prompt}, *messages[1:]] if prompt else messages[1:]


def _is_empty(turn: Turn) -> bool:
    return turn["role"] != "tool" and not turn["content"].strip() and not turn.get("tool_calls")


def _with_input(row: Row, turns: list[Turn]) -> list[Turn]:
    """An instruction with its input, in the form of Alpaca's rows."""
    *before, last = turns
    return [*before, last | {"content": f"{last['content']}\n\n{text(row, 'input')}"}]


def _with_history(row: Row, turns: list[Turn]) -> list[Turn]:
    """Earlier turns in LLaMA-Factory's form: pairs of an instruction and its answer."""
    before: list[Turn] = []
    for i, pair in enumerate(items(row, "history")):
        texts = [text_of(part, f"history[{i}]") for part in items_of(pair, f"history[{i}]")]
        if len(texts) != 2:
            raise InputError(f"history[{i}] holds {len(texts)} texts, not an instruction and its answer", field="history")
        before += [{"role": "user", "content": texts[0]}, {"role": "assistant", "content": texts[1]}]
    system = [turn for turn in turns[:1] if turn["role"] == "system"]
    return [*system, *before, *turns[len(system) :]]


def _with_system(row: Row, turns: list[Turn]) -> list[Turn]:
    prompt = text(row, "system")
    if turns[0]["role"] != "system":
        return [{"role": "system", "content": prompt}, *turns] if prompt.strip() else turns
    if turns[0]["content"].strip() != prompt.strip():
        raise InputError("the column system and the question's own system message differ", field="system")
    return turns


def _with_tools(row: Row, turns: list[Turn]) -> list[Turn]:
    tools = tools_of(row)
    if not tools:
        return turns
    listed = TOOLS + json.dumps(tools, ensure_ascii=False)
    if turns[0]["role"] != "system":
        return [{"role": "system", "content": listed}, *turns]
    return [turns[0] | {"content": f"{turns[0]['content']}\n\n{listed}"}, *turns[1:]]


def tools_of(row: Row) -> list[Any]:
    """The definitions of tools in the column `tools`, a list or a JSON text of one. Raises InputError."""
    tools = items(row, "tools")
    try:
        json.dumps(tools)
    except (TypeError, ValueError, RecursionError):
        raise InputError("tools holds a value that JSON cannot represent", field="tools") from None
    return tools


_COMPLETED: dict[str, Callable[[Row, list[Turn]], list[Turn]]] = {
    "input": _with_input,
    "history": _with_history,
    "system": _with_system,
    "tools": _with_tools,
}
