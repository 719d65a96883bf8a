"""The command that starts a run, and what accelerate needs to know for it."""

from __future__ import annotations

import shlex

from reasrm_training.config.recipe import Recipe
from reasrm_training.config.recipes import FOLDER


def launch_command(recipe: Recipe, source: str) -> str:
    """The command that starts the run of `source` (a recipe and the changes to it); on several nodes, the command for each."""
    if recipe.cluster.nodes == 1:
        return f"reasrm train run {source}"
    machines = f"--num_machines {recipe.cluster.nodes} --machine_rank $RANK --main_process_ip $HEAD --main_process_port 29500"
    processes = f"{machines} --num_processes {recipe.trainers} -m reasrm.cli train run {source}"
    return f"accelerate launch {shlex.join(accelerate_flags(recipe))} {processes}"


def accelerate_flags(recipe: Recipe) -> list[str]:
    """The flags of `accelerate launch` for the way in which the recipe's processes share the model."""
    if recipe.cluster.sharding == "none":
        return ["--multi_gpu", "--mixed_precision", "no", "--dynamo_backend", "no"]
    return ["--config_file", str(FOLDER / f"{recipe.cluster.sharding}.yaml")]
