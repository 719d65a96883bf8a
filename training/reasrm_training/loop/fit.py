"""Training from the newest complete checkpoint, with the numbers of each step written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import TensorBoardCallback

from reasrm_training.data.step_log import StepLog
from reasrm_training.loop.checkpoints import Seal, last_checkpoint

#: Called after each step with the steps done, the steps in all, and the latest numbers.
OnStep = Callable[[int, int, Mapping[str, Any]], None]


class MetricsWriter(TrainerCallback):
    """Writes every logged number to `metrics.jsonl` and calls `on_step`.

    `stride` is the number of optimizer updates that count as one step there.
    """

    def __init__(self, folder: Path, *, stride: int = 1, on_step: OnStep | None = None) -> None:
        self.metrics = StepLog(folder / "metrics.jsonl")
        self.stride = stride
        self.on_step = on_step

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.is_world_process_zero:
            self.metrics.rewind(state.global_step // self.stride)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any) -> None:
        if not state.is_world_process_zero or "train_runtime" in logs:
            return
        step = state.global_step // self.stride
        row = {name: float(value) for name, value in logs.items() if value is not None}
        self.metrics.write(step, row)
        if self.on_step:
            self.on_step(step, state.max_steps // self.stride, row)


def fit(trainer: Trainer, folder: Path) -> None:
    """Train from the newest complete checkpoint in `folder`, or from the start. TensorBoard's curves go to `folder`/tensorboard."""
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Seal())
    checkpoint = last_checkpoint(folder)
    if trainer.is_world_process_zero():
        step = int(checkpoint.rpartition("-")[2]) if checkpoint else 0
        trainer.add_callback(TensorBoardCallback(SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)))
    trainer.train(resume_from_checkpoint=checkpoint)
