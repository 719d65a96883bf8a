"""What only some recipes need and the `train` extra does not bring: packages, GPUs, and a program that starts an SGLang.

Looked for before anything is spent; no package is imported. `reasrm train plan` only plans, and asks for none of it.
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
from reasrm_training.config.recipe import Recipe, Stage

#: Key, value, the modules of which one will do, and how to have it.
PACKAGES: tuple[tuple[str, Any, tuple[str, ...], str], ...] = (
    ("track.to", "wandb", ("wandb",), "pip install wandb"),
    ("track.to", "trackio", ("trackio",), "pip install trackio"),
    ("rollouts.backend", "vllm", ("vllm",), "pip install 'trl[vllm]'"),
    ("model.lora.four_bit", True, ("bitsandbytes",), "pip install bitsandbytes"),
    # transformers takes the kernel of the hub where `kernels` is there and flash-attn is not
    ("model.attention", "flash_attention_2", ("flash_attn", "kernels"), "pip install flash-attn"),
    ("cluster.sharding", "zero3", ("deepspeed",), "pip install deepspeed"),
)
SAMPLING: frozenset[Stage] = frozenset({"rlvr", "evaluate"})
_LOOK = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"


def check_needs(recipe: Recipe, stages: Collection[Stage]) -> None:
    """Raises RecipeError with one line for each thing that `stages` need and that is not installed."""
    if missing := [*_packages(recipe, stages), *_gpus(recipe, stages), *_server(recipe, stages)]:
        raise RecipeError("\n".join(missing))


def _packages(recipe: Recipe, stages: Collection[Stage]) -> Iterator[str]:
    for key, value, modules, install in PACKAGES:
        given = reduce(lambda part, name: getattr(part, name, None), key.split("."), recipe)
        asked = value in given if isinstance(given, tuple) else value == given
        used = SAMPLING.intersection(stages) if key.startswith("rollouts.") else set(stages) - {"data", "chains", "export"}
        if asked and used and not any(find_spec(module) for module in modules):
            shown = str(value).lower() if value is True else f'"{value}"'
            yield f"{key} = {shown} needs {' or '.join(modules)}: {install}"


def _gpus(recipe: Recipe, stages: Collection[Stage]) -> Iterator[str]:
    import torch

    wanted, there = recipe.cluster.gpus, torch.cuda.device_count()
    if wanted > there and {"distill", "rlvr"}.intersection(stages):
        yield f"cluster.gpus = {wanted}, but this machine shows {there}"


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
        if subprocess.run([program, "-c", _LOOK, module], check=False, capture_output=True).returncode:
            yield f"rollouts.server: {program} has no {module}; {advice}"
