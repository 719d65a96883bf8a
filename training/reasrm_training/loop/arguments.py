"""The arguments of TRL's trainers that both stages take from a recipe in the same way."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

from reasrm.errors import RecipeError
from reasrm_training.config.recipe import Recipe
from reasrm_training.config.training import Distill, Rlvr
from reasrm_training.model.processes import processes

StageTable = TypeVar("StageTable", Distill, Rlvr)


def required(table: StageTable | None, name: str) -> StageTable:
    """The table of a stage. Raises RecipeError where the recipe does not have it."""
    if table is None:
        raise RecipeError(f"the recipe has no [{name}]")
    return table


def accumulation(recipe: Recipe, batch: str, rows: int, micro_batch: int) -> int:
    """The number of micro batches into which each process divides its share of a `batch` of `rows` rows.

    Raises RecipeError where it does not divide evenly: a launcher may have started more processes than the recipe knows of.
    """
    count = processes(recipe).num_processes
    parts, rest = divmod(rows, micro_batch * count)
    if rest or not parts:
        raise RecipeError(f"{batch} ({rows}) must be a multiple of the micro_batch ({micro_batch}) x {count} training processes")
    return parts


def arguments(recipe: Recipe, stage: Distill | Rlvr, folder: Path) -> dict[str, Any]:
    """The arguments that both stages share, under their names in `transformers.TrainingArguments`."""
    if "wandb" in recipe.track.to:
        os.environ["WANDB_PROJECT"] = recipe.track.project  # transformers reads W&B's project from nowhere else
    return {
        "output_dir": str(folder / "checkpoints"),
        "run_name": f"{recipe.name}-{folder.name}",
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "per_device_train_batch_size": stage.micro_batch,
        "learning_rate": stage.learning_rate,
        "lr_scheduler_type": stage.schedule,
        "warmup_steps": stage.warmup,  # transformers reads a number below 1 as a share of all steps
        "max_grad_norm": stage.max_grad_norm,
        "bf16": stage.precision == "bf16",
        "use_cpu": recipe.cluster.gpus == 0,
        "gradient_checkpointing": recipe.model.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if recipe.model.gradient_checkpointing else None,
        "dataloader_pin_memory": recipe.cluster.gpus > 0,
        "save_strategy": "steps",
        "save_total_limit": 2,  # the last but one is needed while the last is being written
        "logging_strategy": "steps",
        "report_to": list(recipe.track.to),
        "project": recipe.track.project,
        "disable_tqdm": True,
    }
