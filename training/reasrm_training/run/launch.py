"""The processes that a run launches for training: one per GPU."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from reasrm.errors import Refused
from reasrm.launch.guard import end_with_parent
from reasrm_training.config.recipe import Recipe
from reasrm_training.config.values import Stage
from reasrm_training.plan.launch import accelerate_flags

LOOK_EVERY_S = 1.0


def launch(recipe: Recipe, file: Path, stage: Stage, lock: int, look: Callable[[], None]) -> None:
    """Do a training stage of the recipe in `file` in `recipe.trainers` processes, and call `look` once per second.

    Each of them holds `lock`, a file's descriptor, until it ends. Raises Refused where the stage fails.
    """
    launcher = (sys.executable, "-m", "accelerate.commands.launch", *accelerate_flags(recipe))
    count = ("--main_process_port", "0", "--num_processes", str(recipe.trainers))
    command = [*launcher, *count, "-m", "reasrm_training.run.pipeline", str(file), stage]
    # The launcher ends its processes before itself when it gets a SIGTERM.
    with subprocess.Popen(command, pass_fds=[lock], preexec_fn=lambda: end_with_parent(signal.SIGTERM)) as launched:
        while True:
            try:
                status = launched.wait(LOOK_EVERY_S)
                break
            except subprocess.TimeoutExpired:
                look()
    if status:
        raise Refused(f"the {stage} stage failed; its own messages stand above. The same command goes on from there")
