"""Devices and memory, where what the libraries do by themselves would do harm."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import Trainer, TrainingArguments


def keep_freed_memory() -> None:
    """Have glibc keep what tensors on a CPU free for the next ones.

    By default it hands large pieces back to the system at once, and getting them anew took from a sixth to a half of the time of
    sampling. What the process holds then stays at its peak.
    """
    mmap_threshold, trim_threshold = -3, -1  # of malloc.h
    with contextlib.suppress(OSError, AttributeError):  # another C library
        allocator = ctypes.CDLL(None)
        allocator.mallopt(mmap_threshold, 2**30)
        allocator.mallopt(trim_threshold, 2**31 - 1)


def use_one_device(args: TrainingArguments) -> None:
    """Have a trainer use one device however many this process sees; it would copy the model to all of them."""
    args._n_gpu = min(1, args.n_gpu)


def hold_in_full_precision(trainer: Trainer) -> None:
    """Hold what `trainer` trains in fp32: TRL makes adapters over 4-bit weights bf16, in which a small step is lost."""
    for weight in trainer.model.parameters():  # type: ignore[union-attr]
        if weight.requires_grad:
            weight.data = weight.data.float()


def shard_references() -> None:
    """Have FSDP2 shard the model that KL is measured against block by block, like the policy.

    TRL makes one unit of it, which each GPU would hold whole at every use.
    """
    from accelerate.utils.fsdp_utils import fsdp2_prepare_model
    from trl.trainer import grpo_trainer

    grpo_trainer.prepare_fsdp = lambda model, accelerator: fsdp2_prepare_model(accelerator, model).eval()


def release_memory() -> None:
    """Give back what a finished stage holds of the GPU: the next one may begin with an SGLang beside this process."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()
