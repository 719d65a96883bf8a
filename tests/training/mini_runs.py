"""Whole runs that take seconds: their recipe, and how a test starts one, in its own process or as a command."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Protocol

from reasrm_training.config.recipe import Recipe
from reasrm_training.model import libraries
from reasrm_training.run.pipeline import run
from reasrm_training.run.progress import Display

from tests.components import ROOT

RECIPE = """
name = "mini"
prompts = "world"
output = "{output}"
[model]
path = "{model}"
gradient_checkpointing = false
[world]
chains = 48
chain_levels = [1]
labels = 16
label_levels = [1]
heldout = 6
heldout_levels = [1]
[distill]
batch = 4
micro_batch = 2
steps = 8
learning_rate = 1e-3
max_length = 1024
packing = false
precision = "fp32"
save_steps = 2
[export]
precision = "fp32"
"""
NOTHING_ELSE = """
[track]
pairs = 0
"""
LATER_STAGES = """
[rlvr]
steps = 4
prompts = 2
mini_batch = 2
generations = 4
micro_batch = 4
learning_rate = 1e-2
max_prompt_tokens = 512
max_completion_tokens = 24
precision = "fp32"
reward = { verdict = 1.0, consistency = 1.0, length = 1.0 }
save_steps = 1
guard = { min_format = 0.0, max_length_share = 1.0, min_entropy = 0.0 }
[evaluate]
pairs = 6
votes = [2]
sampled_pairs = 2
"""

#: Python's arguments for two processes that train together (accelerate's own launcher starts one where there is no GPU).
TWO_PROCESSES = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


class Mini(Protocol):
    def __call__(self, name: str, short: bool = False) -> Path: ...


def do(recipe: Recipe, **settings: Any) -> Path:
    libraries.quiet()
    with Display.silent() as display:
        return run(recipe, display, **settings)


def command(file: Path, *launcher: str) -> list[str]:
    return [sys.executable, *launcher, "-m", "reasrm.cli", "train", "run", str(file)]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'training'}", "HF_HUB_OFFLINE": "1"}
