"""Which prompt pack fits a model, where nobody says: by what its name tells.

An untrained instruct model of few parameters judges worse after its own reasoning than at a glance, so it gets `compact`, whose
judge names the winner without reasoning (see "Real preferences" in LAB.md). Every other model gets `rubric`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

SMALL = 4e9  # parameters
_SIZE = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([BM])(?![A-Za-z0-9])", re.IGNORECASE)
_UNIT = {"B": 1e9, "M": 1e6}


class PackChoice(NamedTuple):
    """The name of a prompt pack, and why it fits."""

    pack: str
    why: str


def pack_for(model: str) -> PackChoice:
    """The pack for the model of that name, as an engine lists it: a hub id, a path or a file."""
    sizes = [float(number) * _UNIT[unit.upper()] for number, unit in _SIZE.findall(model)]
    if sizes and sizes[-1] <= SMALL:
        return PackChoice("compact", "a small model that was not trained to judge reads better without reasoning")
    return PackChoice("rubric", "the model is told how to judge, and reasons before its verdict")
