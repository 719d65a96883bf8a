"""Readers of published preference sets: a row into the fields of an `Example`. The columns are those of their dataset cards."""

from __future__ import annotations

from typing import Any

from reasrm.datasets.own import preference
from reasrm.datasets.values import Row, content, dialogue, name, number, text, turns
from reasrm.errors import InputError


def ultrafeedback(row: Row) -> dict[str, Any]:
    """HuggingFaceH4/ultrafeedback_binarized; the strength is the difference of its scores (0 to 10).

    Of two responses with the best score one was chosen at random: a tie.
    """
    strength = abs(number(row, "score_chosen") - number(row, "score_rejected"))
    return preference(row) | {"labels": (1.0 if strength else 0.0, 0.0), "strength": strength, "subset": ""}


def helpsteer2(row: Row) -> dict[str, Any]:
    """nvidia/HelpSteer2, preference part (arXiv 2410.01257). Turns of a prompt are marked by `<extra_id_1>`."""
    question = dialogue(text(row, "prompt"), r"\n?<extra_id_1>(User|Assistant)\n", {"User": "user", "Assistant": "assistant"})
    responses = [text(row, "response_1"), text(row, "response_2")]
    return {"question": question, "responses": responses} | _signed(row, "preference_strength")


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
    return {"question": content(row, "input"), "responses": [text(row, "accepted"), text(row, "rejected")], "labels": (1.0, 0.0)}


def math_step_dpo(row: Row) -> dict[str, Any]:
    """xinlai/Math-Step-DPO-10K: both responses go on from the same first steps, which belong to either."""
    begun = str(row.get("initial_reason_steps") or "")
    responses = [begun + text(row, "full_chosen"), begun + text(row, "full_rejected")]
    return {"question": content(row, "prompt"), "responses": responses, "labels": (1.0, 0.0), "subset": name(row, "dataset")}
