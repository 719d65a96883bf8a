"""The software and hardware that a stage ran on, as far as its result may depend on them. No names of hosts, users or folders."""

from __future__ import annotations

import os
import platform
from importlib import metadata

PACKAGES = ("reasrm", "torch", "transformers", "trl", "accelerate", "peft")


def environment() -> dict[str, str]:
    """Versions, processor and accelerators, by names for people."""
    import torch

    facts = {"system": f"{platform.system()} {platform.machine()}", "python": platform.python_version()}
    facts |= {name: version for name in PACKAGES if (version := _version(name))}
    facts["processor"] = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        facts["accelerators"] = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    return facts


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
