"""The processes of a run: those that train together, and that no process outlives the one that started it."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import PartialState

    from reasrm_training.config.recipe import Recipe


def processes(recipe: Recipe) -> PartialState:
    """The processes that train together, which join at their first call of this. Without a launcher it is this process alone."""
    from accelerate import PartialState

    on_cpu = recipe.cluster.gpus == 0
    if not launched():
        return PartialState(cpu=on_cpu)
    # The others wait for days while the main process makes data or measures. They must not take its silence for its death.
    return PartialState(cpu=on_cpu, backend="gloo" if on_cpu else None, timeout=timedelta(days=7))


def launched() -> bool:
    """Whether a launcher (accelerate, torchrun) started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first() -> bool:
    """Whether this process is alone, or the first of those that a launcher started. Needs no torch, unlike `processes`."""
    return os.environ.get("RANK", "0") == "0"
