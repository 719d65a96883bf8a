"""The command line of an SGLang server on loopback, for a gateway that judges and for a trainer that samples."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reasrm.errors import InputError
from reasrm.launch.hub import ModelFolder
from reasrm.launch.machine import nvidia_gpus
from reasrm.launch.process import ServerProcess

START_S = 1800.0
MODULE = ("-m", "sglang.launch_server")


def sglang_server(
    command: Sequence[str],
    model: str,
    port: int,
    *flags: str,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], object] = lambda line: None,
    restart: bool = True,
) -> ServerProcess:
    """The process of an SGLang, not started yet: `command` with the model, the port of the loopback interface and `flags`."""
    argv = [*command, "--model-path", model, "--host", "127.0.0.1", "--port", str(port), *flags]
    ready = f"http://127.0.0.1:{port}/health"
    return ServerProcess("SGLang", argv, ready, env=env, on_line=on_line, restart=restart, start_s=START_S)


def judging_flags(
    model: ModelFolder, version: str, *, slots: int | None, context: int | None, arguments: Mapping[str, str]
) -> list[str]:
    """The flags of a judge's server: what it is called, its context, and all GPUs that share its heads evenly.

    The prefix cache and log-probabilities need no flag. `arguments` come last, so that they win.
    """
    flags = {"served-model-name": model.name, "weight-version": version, "log-level": "warning", "enable-cache-report": ""}
    if context:
        flags["context-length"] = str(context)
    if slots:
        flags["max-running-requests"] = str(slots)
    if (shards := _shards(model.path, nvidia_gpus())) > 1:
        flags["tp-size"] = str(shards)
    flags |= {name.lstrip("-").replace("_", "-"): value for name, value in arguments.items()}
    return [word for name, value in flags.items() for word in (f"--{name}", value) if word]


def check_sglang(python: Path) -> None:
    """Raise `InputError` where the environment of `python` has no SGLang."""
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('sglang') is None)"
    try:
        missing = subprocess.run([python, "-c", look], capture_output=True, check=False).returncode != 0
    except OSError as error:
        raise InputError(f"--engine-python {python}: {error.strerror}", field="engine_python") from None
    if missing:
        raise InputError(
            f"this model needs SGLang, which {python} does not have: pip install sglang, or name the Python of an environment "
            "that has it with --engine-python (a GGUF file needs none)",
            field="engine_python",
        )


def _shards(folder: Path, gpus: int) -> int:
    """The most GPUs, up to `gpus`, that divide the model's heads."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    heads = int(config.get("num_attention_heads") or config.get("text_config", {}).get("num_attention_heads") or 1)
    return next((count for count in range(gpus, 1, -1) if heads % count == 0), 1)
