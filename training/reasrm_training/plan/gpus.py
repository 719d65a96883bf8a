"""GPUs by the figures of their makers' data sheets (dense bf16, no sparsity), and the CPU of this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from reasrm.errors import RecipeError

CPU_FLOPS, CPU_BANDWIDTH = 0.25e12, 20e9  # of two cores


@dataclass(frozen=True, slots=True)
class Gpu:
    """Memory in bytes, bf16 operations per second, memory traffic in bytes per second."""

    memory: float
    flops: float
    bandwidth: float


GPUS: Mapping[str, Gpu] = {
    "A100-40GB": Gpu(40e9, 312e12, 1.56e12),
    "A100": Gpu(80e9, 312e12, 2.04e12),
    "L40S": Gpu(48e9, 362e12, 0.86e12),
    "H100": Gpu(80e9, 989e12, 3.35e12),
    "H200": Gpu(141e9, 989e12, 4.8e12),
    "B200": Gpu(180e9, 2250e12, 8.0e12),
}


def gpu_named(name: str) -> Gpu:
    """The GPU called `name`. Raises RecipeError, which lists the names."""
    if name not in GPUS:
        raise RecipeError(f"cluster.gpu: no figures for {name!r}; there are {', '.join(GPUS)}")
    return GPUS[name]


def this_cpu() -> Gpu:
    """This machine's memory, with the speed of two cores."""
    return Gpu(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), CPU_FLOPS, CPU_BANDWIDTH)
