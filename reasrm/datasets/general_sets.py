"""The project's own rows, and preference rows in TRL's format. `--map` turns other tables into these.

Sources: the columns are ours; "prompt, chosen, rejected" with explicit or implicit prompt is TRL's preference format.
"""

from __future__ import annotations

from typing import Any, cast

from reasrm.datasets.conversations import (
    Turn,
    human_assistant_dialogue,
    is_human_assistant,
    question,
    responses,
    shared_question,
    written_messages,
)
from reasrm.datasets.values import Row, cell, items, name, number, numbers, text, texts
from reasrm.datasets.winners import winner_labels
from reasrm.errors import InputError


def pair(row: Row) -> dict[str, Any]:
    """question, a, b; and where known winner, strength, subset, rubric, id. The winner is A, B, "tie" or another name of these."""
    return {
        "id": name(row, "id"),
        "question": question(row, "question"),
        "responses": responses([cell(row, "a"), cell(row, "b")], ["a", "b"]),
        "labels": winner_labels(row, "winner") if row.get("winner") is not None else None,
        "strength": number(row, "strength") if row.get("strength") is not None else None,
        "subset": name(row, "subset"),
        "rubric": text(row, "rubric") if row.get("rubric") is not None else None,
    }


def group(row: Row) -> dict[str, Any]:
    """question, responses; and where known labels (one number per response), subset, rubric, id."""
    listed = items(row, "responses")
    return {
        "id": name(row, "id"),
        "question": question(row, "question"),
        "responses": responses(listed, [f"responses[{i}]" for i in range(len(listed))]),
        "labels": numbers(row, "labels") if row.get("labels") is not None else None,
        "subset": name(row, "subset"),
        "rubric": text(row, "rubric") if row.get("rubric") is not None else None,
    }


def reference(row: Row) -> dict[str, Any]:
    """question, response, reference: a single response and a reference answer, without a label."""
    return {
        "id": name(row, "id"),
        "question": question(row, "question"),
        "responses": responses([cell(row, "response"), cell(row, "reference")], ["response", "reference"]),
        "subset": name(row, "subset"),
    }


def preference(row: Row) -> dict[str, Any]:
    """chosen, rejected, as texts after a prompt, or as messages that may repeat the prompt."""
    prompt, chosen, rejected = _split(row)
    return {
        "id": name(row, "id", "prompt_id"),
        "question": prompt,
        "responses": [chosen, rejected],
        "labels": (1.0, 0.0),
        "strength": abs(number(row, "margin")) if row.get("margin") is not None else None,
        "subset": name(row, "subset", "source"),
    }


def _split(row: Row) -> tuple[Any, Any, Any]:
    """(question, chosen, rejected) of a preference row."""
    values = responses([cell(row, "chosen"), cell(row, "rejected")], ["chosen", "rejected"])
    if all(isinstance(value, str) for value in values):
        if "prompt" not in row:
            raise InputError(
                "there is no prompt beside the texts chosen and rejected; name its column with --map prompt=COLUMN", field="prompt"
            )
        return question(row, "prompt"), values[0], values[1]
    chosen, rejected = ([{"role": "assistant", "content": value}] if isinstance(value, str) else value for value in values)
    if chosen[0]["role"] == rejected[0]["role"] == "assistant":
        return question(row, "prompt"), chosen, rejected
    return shared_question(chosen, rejected)


def whole_dialogues(row: Row) -> dict[str, Any]:
    """hh-rlhf: chosen and rejected are dialogues in one text each, their turns marked by Human: and Assistant:."""
    shared, good, bad = shared_question(_dialogue(row, "chosen"), _dialogue(row, "rejected"))
    return {"question": shared, "responses": [good, bad], "labels": (1.0, 0.0)}


def _dialogue(row: Row, column: str) -> list[Turn]:
    turns = human_assistant_dialogue(text(row, column))
    if not turns or turns[-1]["role"] != "assistant":
        raise InputError(f"{column} ends without a turn of Assistant: it holds no response", field=column)
    return turns


def is_dialogues(row: Row) -> bool:
    """Whether chosen or rejected is a whole dialogue in one text."""
    return is_human_assistant(row.get("chosen")) or is_human_assistant(row.get("rejected"))


def is_preference(row: Row) -> bool:
    """Whether chosen is one response: a text after a prompt, or messages."""
    chosen = row.get("chosen")
    if isinstance(chosen, str):
        return not is_dialogues(row) and (row.get("prompt") is not None or _are_messages(chosen))
    if isinstance(chosen, dict):
        return row.get("prompt") is not None
    return isinstance(chosen, list) and isinstance(next(iter(cast("list[Any]", chosen)), None), dict)


def _are_messages(chosen: str) -> bool:
    try:
        return written_messages(chosen, "chosen") is not None
    except InputError:
        return True


def is_texts(row: Row) -> bool:
    """Whether chosen is a list of responses (or a JSON text of one)."""
    try:
        return bool(texts(row, "chosen"))
    except InputError:
        return False
