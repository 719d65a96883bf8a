"""The memory, the processors and the GPUs that this process may use."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def memory_bytes() -> int:
    """Bytes of memory: the machine's, or the limit of the container."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _read("memory.max") or _read("memory/memory.limit_in_bytes")
    return min(machine, int(limit)) if limit.isdigit() else machine


def processors() -> int:
    """Processors that this process may use at the same time, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read("cpu.max").partition(" ")
    return max(1, min(allowed, -(-int(quota) // int(period)))) if quota.isdigit() and period.isdigit() else allowed


def nvidia_gpus() -> int:
    """GPUs of NVIDIA that this process may use; 0 where there is no driver."""
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return len([device for device in chosen.split(",") if device.strip() not in ("", "-1")])
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    listed = subprocess.run([program, "-L"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def _read(name: str) -> str:
    try:
        return (CGROUP / name).read_text().strip()
    except OSError:
        return ""
