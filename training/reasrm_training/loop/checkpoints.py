"""Checkpoints that are whole or do not count, and the model that a stage leaves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

COMPLETE = "complete"  # a checkpoint folder holds a file of this name once everything in it is written


class Seal(TrainerCallback):
    """Marks each checkpoint as complete once every process has written its part of it."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            (Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


def last_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint of a stage. The main process removes those that a kill left half written."""
    checkpoints = sorted(folder.glob("checkpoints/checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    complete = [path for path in checkpoints if (path / COMPLETE).exists()]
    if PartialState().is_main_process:
        for broken in set(checkpoints) - set(complete):
            shutil.rmtree(broken)
    return str(complete[-1]) if complete else None


def save(trainer: Trainer, tokenizer: PreTrainedTokenizerBase, folder: Path) -> Path:
    """Write the trained model into `folder` as safetensors, whole or not at all. Every process must call it."""
    part = folder.with_name(folder.name + ".part")
    if trainer.is_world_process_zero():
        shutil.rmtree(part, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    if trainer.is_fsdp_enabled:
        plugin: Any = trainer.accelerator.state.fsdp_plugin
        plugin.set_state_dict_type("FULL_STATE_DICT")
    trainer.save_model(str(part))
    trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        (part / "training_args.bin").unlink(missing_ok=True)  # a pickle, which no model needs
        tokenizer.save_pretrained(str(part))
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    trainer.accelerator.wait_for_everyone()
    return folder
