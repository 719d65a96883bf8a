"""Which prompt pack fits a model, where nobody says: by what its name tells.

A published judge gets the pack of its form. A model that thinks by itself gets `free`. Untrained instruct models of few parameters
gained nothing by reasoning where they were measured ("Real preferences" in LAB.md), so they get `compact`, whose judge names the
winner without it. Every other model gets `rubric`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from reasrm.prompts.published import published

SMALL = 4e9  # parameters
_SIZE = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([BM])(?![A-Za-z0-9])", re.IGNORECASE)
_UNIT = {"B": 1e9, "M": 1e6}
_THINKS = re.compile(r"(?<![a-z0-9])(r1|qwq|thinking|reasoning|magistral)(?![a-z0-9])", re.IGNORECASE)


class PackChoice(NamedTuple):
    """The name of a prompt pack, and why it fits."""

    pack: str
    why: str


def pack_for(model: str) -> PackChoice:
    """The pack for the model of that name, as an engine lists it: a hub id, a path or a file."""
    if (judge := published(model)) is not None:
        own = f"reasrm prompts import {judge.name} gets the texts that it was trained on"
        return PackChoice(judge.pack, f"it has the form of this published judge; {own}")
    if _THINKS.search(model):
        return PackChoice("free", "the model thinks by itself before it answers")
    sizes = [float(number) * _UNIT[unit.upper()] for number, unit in _SIZE.findall(model)]
    if sizes and sizes[-1] <= SMALL:
        return PackChoice(
            "compact", "a small model that was not trained to judge gained nothing by reasoning where it was measured"
        )
    return PackChoice("rubric", "the model is told how to judge, and reasons before its verdict")
