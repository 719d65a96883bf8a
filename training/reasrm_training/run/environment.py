"""What a stage ran on, as far as it may matter to its result. No name of a host, a user or a folder."""

from __future__ import annotations

import os
import platform
from importlib import metadata

PACKAGES = ("reasrm", "torch", "transformers", "trl", "accelerate", "peft")


def environment() -> dict[str, str]:
    """Versions, processor and accelerators, each under the name that a person would give it."""
    import torch

    found = {"system": f"{platform.system()} {platform.machine()}", "python": platform.python_version()}
    found |= {name: version for name in PACKAGES if (version := _version(name))}
    found["processor"] = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        found["accelerators"] = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
