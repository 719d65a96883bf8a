"""Devices and memory, where the libraries' defaults do harm."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import Trainer, TrainingArguments


def keep_freed_memory() -> None:
    """Have glibc keep the memory that tensors on a CPU free, for the next tensors.

    By default glibc hands large pieces back to the system at once, and fetching them again took from a sixth to a half of the
    time of sampling. In exchange, the memory of the process stays at its peak.
    """
    mmap_threshold, trim_threshold = -3, -1  # names in malloc.h: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
    with contextlib.suppress(OSError, AttributeError):  # another C library
        allocator = ctypes.CDLL(None)
        allocator.mallopt(mmap_threshold, 2**30)
        allocator.mallopt(trim_threshold, 2**31 - 1)


def use_one_device(args: TrainingArguments) -> None:
    """Have a trainer use one device. It would copy the model to every device that this process sees."""
    args._n_gpu = min(1, args.n_gpu)


def hold_in_full_precision(trainer: Trainer) -> None:
    """Hold the weights that `trainer` trains in fp32. TRL makes adapters over 4-bit weights bf16, which loses small steps."""
    for weight in trainer.model.parameters():  # type: ignore[union-attr]
        if weight.requires_grad:
            weight.data = weight.data.float()


def shard_references() -> None:
    """Have FSDP2 shard the reference model of the KL term block by block, like the policy.

    TRL makes one unit of it, so that each GPU would hold all of it at every use.
    """
    from accelerate.utils.fsdp_utils import fsdp2_prepare_model
    from trl.trainer import grpo_trainer

    grpo_trainer.prepare_fsdp = lambda model, accelerator: fsdp2_prepare_model(accelerator, model).eval()


def release_memory() -> None:
    """Free what a finished stage holds of the GPU, as the next stage may start an SGLang beside this process."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()
