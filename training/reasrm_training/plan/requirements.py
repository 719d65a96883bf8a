"""Needs of some recipes beyond the `train` extra: packages, GPUs, and a program that starts an SGLang.

It is checked before anything is spent, and no package is imported for it but torch, to count GPUs. `reasrm train plan` only
plans, and needs none of it.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Collection, Iterator
from functools import reduce
from importlib.util import find_spec
from typing import Any

from reasrm.errors import RecipeError
from reasrm_training.config.recipe import Recipe
from reasrm_training.config.values import Stage

#: Key, value, the modules of which one is enough, and the command that installs one.
PACKAGES: tuple[tuple[str, Any, tuple[str, ...], str], ...] = (
    ("track.to", "wandb", ("wandb",), "pip install wandb"),
    ("track.to", "trackio", ("trackio",), "pip install trackio"),
    ("rollouts.backend", "vllm", ("vllm",), "pip install 'trl[vllm]'"),
    ("model.lora.four_bit", True, ("bitsandbytes",), "pip install bitsandbytes"),
    # without flash-attn, transformers takes the hub's kernel if `kernels` is installed
    ("model.attention", "flash_attention_2", ("flash_attn", "kernels"), "pip install flash-attn"),
    ("cluster.sharding", "zero3", ("deepspeed",), "pip install deepspeed"),
)
SAMPLING: frozenset[Stage] = frozenset({"rlvr", "evaluate"})
_FIND = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"


def check_installed(recipe: Recipe, stages: Collection[Stage]) -> None:
    """Raises RecipeError with one line for each package or program that `stages` need and that is not installed. Imports none."""
    if missing := [*_packages(recipe, stages), *_server(recipe, stages)]:
        raise RecipeError("\n".join(missing))


def check_gpus(recipe: Recipe, stages: Collection[Stage]) -> None:
    """Raises RecipeError where this machine has fewer GPUs than the training stages among `stages` need. Imports torch."""
    import torch

    needed, present = recipe.cluster.gpus, torch.cuda.device_count()
    if needed > present and {"distill", "rlvr"}.intersection(stages):
        raise RecipeError(f"cluster.gpus = {needed}, but this machine has {present}")


def _packages(recipe: Recipe, stages: Collection[Stage]) -> Iterator[str]:
    for key, value, modules, install in PACKAGES:
        setting = reduce(lambda part, name: getattr(part, name, None), key.split("."), recipe)
        is_set = value in setting if isinstance(setting, tuple) else value == setting
        used = SAMPLING.intersection(stages) if key.startswith("rollouts.") else set(stages) - {"data", "chains", "export"}
        if is_set and used and not any(find_spec(module) for module in modules):
            shown = str(value).lower() if value is True else f'"{value}"'
            yield f"{key} = {shown} needs {' or '.join(modules)}: {install}"


def _server(recipe: Recipe, stages: Collection[Stage]) -> Iterator[str]:
    rollouts = recipe.rollouts
    if rollouts.backend != "sglang" or rollouts.url or not SAMPLING.intersection(stages):
        return
    advice = "name the Python of the environment that has SGLang, or the address of a running server as rollouts.url"
    try:
        program, *rest = shlex.split(rollouts.server)
    except ValueError:
        yield f"rollouts.server: {rollouts.server!r} is no command; {advice}"
        return
    if shutil.which(program) is None:
        yield f"rollouts.server: there is no program {program}; {advice}"
    elif rest[:1] == ["-m"] and len(rest) > 1:
        module = rest[1].partition(".")[0]
        if subprocess.run([program, "-c", _FIND, module], check=False, capture_output=True).returncode:
            yield f"rollouts.server: {program} has no {module}; {advice}"
