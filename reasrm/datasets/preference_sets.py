"""Readers of published preference sets: a row into the fields of an `Example`. The columns are those of their dataset cards."""

from __future__ import annotations

import re
from typing import Any

from reasrm.datasets.conversations import dialogue, question, turns
from reasrm.datasets.general_sets import preference
from reasrm.datasets.values import Row, name, number, text
from reasrm.datasets.winners import NUMBERED, WinnerValues, winner_labels
from reasrm.errors import InputError

_ANNOTATED: WinnerValues = {**NUMBERED, "0": "tie"}
_EXTRA_ID = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")


def ultrafeedback(row: Row) -> dict[str, Any]:
    """HuggingFaceH4/ultrafeedback_binarized; the strength is the difference of its scores (0 to 10).

    Of two responses with the best score one was chosen at random: a tie.
    """
    strength = abs(number(row, "score_chosen") - number(row, "score_rejected"))
    return preference(row) | {"labels": (1.0 if strength else 0.0, 0.0), "strength": strength, "subset": ""}


def helpsteer2(row: Row) -> dict[str, Any]:
    """nvidia/HelpSteer2, preference part (arXiv 2410.01257). Turns of a prompt are marked by `<extra_id_1>`."""
    context = dialogue(text(row, "prompt"), _EXTRA_ID, {"User": "user", "Assistant": "assistant"})
    responses = [text(row, "response_1"), text(row, "response_2")]
    return {"question": context, "responses": responses} | _signed(row, "preference_strength")


def helpsteer3(row: Row) -> dict[str, Any]:
    """nvidia/HelpSteer3, preference part (arXiv 2505.11475)."""
    responses = [text(row, "response1"), text(row, "response2")]
    subset = "/".join(part for part in (name(row, "domain"), name(row, "language")) if part)
    return {"question": turns(row, "context"), "responses": responses, "subset": subset} | _signed(row, "overall_preference")


def _signed(row: Row, column: str) -> dict[str, Any]:
    """A preference from -3 to 3, where more than 0 means the second response."""
    preferred = number(row, column)
    if not -3 <= preferred <= 3:
        raise InputError(f"{column} is {preferred:g}, outside -3 to 3", field=column)
    return {"labels": (-preferred, preferred), "strength": abs(preferred)}


def code_preference(row: Row) -> dict[str, Any]:
    """Vezora/Code-Preference-Pairs."""
    return {"question": question(row, "input"), "responses": [text(row, "accepted"), text(row, "rejected")], "labels": (1.0, 0.0)}


def math_step_dpo(row: Row) -> dict[str, Any]:
    """xinlai/Math-Step-DPO-10K: both responses continue the same first steps, which become part of each response."""
    begun = text(row, "initial_reason_steps") if row.get("initial_reason_steps") is not None else ""
    responses = [begun + text(row, "full_chosen"), begun + text(row, "full_rejected")]
    return {"question": question(row, "prompt"), "responses": responses, "labels": (1.0, 0.0), "subset": name(row, "dataset")}


def pandalm(row: Row) -> dict[str, Any]:
    """PandaLM's test set (arXiv 2306.05087): three annotators say 1, 2 or 0 for a tie; if no two agree, it is a tie."""
    votes = [winner_labels(row, f"annotator{i}", _ANNOTATED) for i in (1, 2, 3)]
    majority = next((vote for vote in votes if votes.count(vote) > 1), (0.0, 0.0))
    return {
        "id": name(row, "idx"),
        "question": question(row, "instruction"),
        "responses": [_published_text(row, "response1"), _published_text(row, "response2")],
        "labels": majority,
        "subset": name(row, "motivation_app"),
    }


def _published_text(row: Row, column: str) -> str:
    """The cell as a text: PandaLM's file holds some answers "True" and "False" as booleans."""
    value = row.get(column)
    return str(value) if isinstance(value, bool) else text(row, column)


def llmbar(row: Row) -> dict[str, Any]:
    """LLMBar (arXiv 2310.07641), and the human judgments of MT-Bench as its repository has them: the label is 1 or 2."""
    return {
        "question": question(row, "input"),
        "responses": [text(row, "output_1"), text(row, "output_2")],
        "labels": winner_labels(row, "label", NUMBERED),
    }
