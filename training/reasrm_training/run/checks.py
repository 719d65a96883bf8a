"""Checks that run before anything is spent."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from reasrm.errors import RecipeError
from reasrm.prompts import load_pack
from reasrm_training.config.recipe import Recipe
from reasrm_training.config.values import Stage
from reasrm_training.data.from_world import world_of
from reasrm_training.model.processes import launched
from reasrm_training.model.tokenizer import check_path, load_tokenizer
from reasrm_training.plan.memory import disk_bytes
from reasrm_training.plan.requirements import check_gpus, check_installed
from reasrm_training.plan.shapes import NoPlan, shape_of

log = logging.getLogger(__name__)


def check_quickly(recipe: Recipe, stages: Sequence[Stage]) -> None:
    """Check everything in `stages` that needs no torch, so that a mistake is reported at once.

    Raises RecipeError or PromptPackError.
    """
    load_pack(recipe.prompts)
    if recipe.model.path:
        check_path(recipe.model.path)
    if recipe.world:
        world_of(recipe)
    if (folder := _existing(recipe.run_folder)).is_file():
        raise RecipeError(f"output: {folder} is a file; give a folder")
    if recipe.cluster.nodes > 1 and not launched():
        raise RecipeError("cluster.nodes: start this on every node under accelerate; `reasrm train plan` prints the command")
    check_installed(recipe, stages)


def check(recipe: Recipe, stages: Sequence[Stage]) -> None:
    """Check everything that can be checked in `stages`. Raises RecipeError or PromptPackError."""
    check_quickly(recipe, stages)
    check_gpus(recipe, stages)
    if recipe.model.scratch is None:
        load_tokenizer(recipe)
    _check_disk(recipe)
    if recipe.model.lora:
        from reasrm_training.model.loading import check_adapters

        check_adapters(recipe)


def _check_disk(recipe: Recipe) -> None:
    try:
        needed = disk_bytes(recipe, shape_of(recipe.model))
    except NoPlan as error:
        log.warning("the room that the run needs on disk is not checked: %s", error)
        return
    folder = _existing(recipe.run_folder)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise RecipeError(
            f"output: this run writes up to {needed / 1e9:,.1f} GB (models and checkpoints), "
            f"and {free / 1e9:,.1f} GB are free at {folder}"
        )


def _existing(path: Path) -> Path:
    """`path`, or the nearest part of it that exists."""
    return next(part for part in (path.absolute(), *path.absolute().parents) if part.exists())
