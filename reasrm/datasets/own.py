"""The project's own rows, and preference rows as TRL has them: what `--map` brings other tables to.

Sources: the columns are ours; "prompt, chosen, rejected" with explicit or implicit prompt is TRL's preference format.
"""

from __future__ import annotations

from typing import Any, cast

from reasrm.datasets.values import Row, Turn, cell, content, dialogue, items, name, number, shared_question, text, texts, turns
from reasrm.errors import InputError

_WINNERS = {"a": "A", "model_a": "A", "response_1": "A", "b": "B", "model_b": "B", "response_2": "B"}


def pair(row: Row) -> dict[str, Any]:
    """question, a, b; and where known winner ("A", "B" or "tie"), strength, subset, rubric, id."""
    return {
        "id": name(row, "id"),
        "question": content(row, "question"),
        "responses": [content(row, "a"), content(row, "b")],
        "labels": winner_labels(row, "winner") if row.get("winner") is not None else None,
        "strength": number(row, "strength") if row.get("strength") is not None else None,
        "subset": name(row, "subset"),
        "rubric": text(row, "rubric") if row.get("rubric") is not None else None,
    }


def winner_labels(row: Row, column: str) -> tuple[float, float]:
    """Labels out of a winner's name: A/B, model_a/model_b, response_1/response_2, or a tie."""
    said = text(row, column).strip().lower()
    if said.startswith("tie"):
        return (0.0, 0.0)
    if said not in _WINNERS:
        raise InputError(f"{column} is {said!r}, not A, B or tie", field=column)
    return (1.0, 0.0) if _WINNERS[said] == "A" else (0.0, 1.0)


def group(row: Row) -> dict[str, Any]:
    """question, responses; and where known labels (a number a response), subset, rubric, id."""
    responses: list[Any] = items(row, "responses")
    return {
        "id": name(row, "id"),
        "question": content(row, "question"),
        "responses": [content({"responses": each}, "responses") for each in responses],
        "labels": [float(label) for label in items(row, "labels")] if row.get("labels") is not None else None,
        "subset": name(row, "subset"),
        "rubric": text(row, "rubric") if row.get("rubric") is not None else None,
    }


def reference(row: Row) -> dict[str, Any]:
    """question, response, reference: how a single response does against a reference answer. Nothing says which is better."""
    return {
        "id": name(row, "id"),
        "question": content(row, "question"),
        "responses": [content(row, "response"), content(row, "reference")],
        "subset": name(row, "subset"),
    }


def preference(row: Row) -> dict[str, Any]:
    """chosen, rejected, as texts after a prompt, or as messages that may repeat the prompt."""
    question, chosen, rejected = _split(row)
    return {
        "id": name(row, "id", "prompt_id"),
        "question": question,
        "responses": [chosen, rejected],
        "labels": (1.0, 0.0),
        "strength": abs(number(row, "margin")) if row.get("margin") is not None else None,
        "subset": name(row, "subset", "source"),
    }


def _split(row: Row) -> tuple[Any, Any, Any]:
    if isinstance(cell(row, "chosen"), str):
        if "prompt" not in row:
            raise InputError("there is no prompt beside the texts chosen and rejected; --map prompt=COLUMN names it")
        return content(row, "prompt"), text(row, "chosen"), text(row, "rejected")
    chosen, rejected = turns(row, "chosen"), turns(row, "rejected")
    if chosen[0]["role"] == rejected[0]["role"] == "assistant":
        return content(row, "prompt"), chosen, rejected
    return shared_question(chosen, rejected)


def whole_dialogues(row: Row) -> dict[str, Any]:
    """hh-rlhf: chosen and rejected are dialogues in one text each, their turns marked by Human: and Assistant:."""
    chosen, rejected = (_dialogue(row, column) for column in ("chosen", "rejected"))
    question, good, bad = shared_question(chosen, rejected)
    return {"question": question, "responses": [good, bad], "labels": (1.0, 0.0)}


def _dialogue(row: Row, column: str) -> list[Turn]:
    return dialogue(text(row, column), r"\n\n(Human|Assistant): ?", {"Human": "user", "Assistant": "assistant"})


def is_dialogues(row: Row) -> bool:
    """Whether chosen is a whole dialogue in one text."""
    return isinstance(row.get("chosen"), str) and "\n\nHuman:" in row["chosen"]


def is_preference(row: Row) -> bool:
    """Whether chosen is one response: a text after a prompt, or messages."""
    chosen = row.get("chosen")
    if isinstance(chosen, str):
        return "prompt" in row
    return isinstance(chosen, list) and bool(cast(list[Any], chosen)) and isinstance(chosen[0], dict)


def is_texts(row: Row) -> bool:
    """Whether chosen is a list of responses (or a JSON text of one)."""
    try:
        return bool(texts(row, "chosen"))
    except InputError:
        return False
