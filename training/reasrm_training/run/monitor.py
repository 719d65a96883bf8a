"""What a run tells while it trains: its numbers as JSON lines, its progress, whole checkpoints, and the brake on a collapse."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerate import PartialState
from torch.utils.tensorboard import SummaryWriter
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import TensorBoardCallback

from reasrm_training.config.recipe import Guard, Rlvr
from reasrm_training.data.examples import write_whole
from reasrm_training.model.loading import COMPLETE, last_checkpoint

#: Told after each step: steps done, steps in all, the latest numbers.
Progress = Callable[[int, int, Mapping[str, Any]], None]


class StepLog:
    """A JSONL file whose rows carry a `step`; going back to a checkpoint takes back what was written after it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, step: int, row: Mapping[str, Any]) -> None:
        """Append one row."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **row}) + "\n")

    def read(self) -> list[dict[str, Any]]:
        """All rows; a line that a kill cut short is no row."""
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

    def rewind(self, step: int) -> None:
        """Keep the rows up to `step`."""
        if self.path.exists():
            rows = [row for row in self.read() if row["step"] <= step]
            write_whole(self.path, "".join(json.dumps(row) + "\n" for row in rows).encode())


class Report(TrainerCallback):
    """Writes every logged number to `metrics.jsonl` and tells the progress.

    `stride` is the number of optimizer updates that count as one step in what is written and told.
    """

    def __init__(self, folder: Path, *, stride: int = 1, progress: Progress | None = None) -> None:
        self.metrics = StepLog(folder / "metrics.jsonl")
        self.stride = stride
        self.progress = progress

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.is_world_process_zero:
            self.metrics.rewind(state.global_step // self.stride)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any) -> None:
        if not state.is_world_process_zero or "train_runtime" in logs:
            return
        step = state.global_step // self.stride
        row = {name: float(value) for name, value in logs.items() if value is not None}
        self.metrics.write(step, row)
        if self.progress:
            self.progress(step, state.max_steps // self.stride, row)


class Seal(TrainerCallback):
    """Marks each checkpoint as whole once every process has written its part of it."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            (Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


class Brake(TrainerCallback):
    """Stops a run whose numbers break one of the guard's bounds `patience` logged steps in a row, and says why in `reason`.

    It looks at the trainer's own history, which a checkpoint keeps, so a resumed run stops where the unbroken one does.
    """

    def __init__(self, rlvr: Rlvr) -> None:
        self.guard = rlvr.guard
        self.limit = rlvr.max_completion_tokens
        self.reason: str | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._look(state, control)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any) -> None:
        self._look(state, control)

    def _look(self, state: TrainerState, control: TrainerControl) -> None:
        recent = [row for row in state.log_history if "reward" in row][-self.guard.patience :]
        if len(recent) < self.guard.patience:
            return
        broken = [breaches(row, self.guard, self.limit) for row in recent]
        lasting = set(broken[0]).intersection(*broken[1:])
        if lasting:
            self.reason = "; ".join(broken[-1][name] for name in sorted(lasting))
            control.should_training_stop = True


def breaches(row: Mapping[str, float], guard: Guard, limit: int) -> dict[str, str]:
    """The bounds that one step's numbers break: name -> what is wrong. `limit` is the most tokens that a reply may have."""
    low, high = guard.probability_a
    p_a, form, entropy = row.get("p_a"), row.get("format"), row.get("entropy")
    tokens = row.get("completions/mean_length")
    found: dict[str, str] = {}
    if p_a is not None and not low <= p_a <= high:
        found["p_a"] = f"{p_a:.0%} of the verdicts name A (allowed: {low:.0%} to {high:.0%})"
    if form is not None and form < guard.min_format:
        found["format"] = f"{form:.0%} of the replies are well-formed (at least {guard.min_format:.0%})"
    if tokens is not None and tokens > guard.max_length_share * limit:
        found["length"] = f"replies have {tokens:.0f} tokens on average, of {limit} that fit"
    if entropy is not None and entropy < guard.min_entropy:
        found["entropy"] = f"entropy is {entropy:.4f} nats a token (at least {guard.min_entropy})"
    return found


def fit(trainer: Trainer, folder: Path) -> None:
    """Train from the newest whole checkpoint of `folder`, or from the start, with TensorBoard's curves in `folder`/tensorboard."""
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Seal())
    checkpoint = last_checkpoint(folder)
    if trainer.is_world_process_zero():
        step = int(checkpoint.rpartition("-")[2]) if checkpoint else 0
        trainer.add_callback(TensorBoardCallback(SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)))
    trainer.train(resume_from_checkpoint=checkpoint)
