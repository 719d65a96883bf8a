"""The processes of a run besides its own: how training gets one a GPU, and that none outlives whoever started it."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from reasrm.errors import Refused
from reasrm_training.config.recipe import Recipe, Stage
from reasrm_training.plan.plan import accelerate_flags

LOOK_EVERY_S = 1.0


def end_with_parent(how: signal.Signals = signal.SIGKILL) -> None:
    """Have this process sent `how` when the one that started it ends, even if that was killed; else it would hold its GPU."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(how))


def launch(recipe: Recipe, file: Path, stage: Stage, lock: int, look: Callable[[], None]) -> None:
    """Do a training stage of the recipe in `file` in as many processes as there are devices for it, and `look` now and then.

    They hold `lock`, a file's descriptor, as long as one of them lives. Raises Refused where the stage breaks off.
    """
    launcher = (sys.executable, "-m", "accelerate.commands.launch", *accelerate_flags(recipe))
    any_port = ("--main_process_port", "0")
    command = [
        *launcher,
        *any_port,
        "--num_processes",
        str(recipe.trainers),
        "-m",
        "reasrm_training.run.pipeline",
        str(file),
        stage,
    ]
    # By SIGTERM the launcher ends its processes before itself.
    with subprocess.Popen(command, pass_fds=[lock], preexec_fn=lambda: end_with_parent(signal.SIGTERM)) as processes:
        while True:
            try:
                status = processes.wait(LOOK_EVERY_S)
                break
            except subprocess.TimeoutExpired:
                look()
    if status:
        raise Refused(f"the {stage} stage broke off; what it says stands above. The same command goes on from there")
