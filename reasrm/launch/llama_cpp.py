"""llama.cpp as an engine of a judge: which slots and context a model gets on a machine, and the server's process.

The server is xllamacpp, llama.cpp's own server in a Python process, on loopback and behind a key of its own.
"""

from __future__ import annotations

import importlib.util
import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reasrm.errors import InputError, ReasrmError
from reasrm.launch.gguf_file import GgufFile
from reasrm.launch.machine import memory_bytes, processors
from reasrm.launch.process import ServerProcess, free_port

SERVER = Path(__file__).with_name("llama_server.py")
INSTALL = 'pip install "reasrm[serve,local]"'
TINY_BYTES = 64 * 2**20  # of a model that reads and writes so fast that many requests at once pay
#: Slots (replies that are written at once) of a tiny model, of one on a GPU, and of one on a CPU.
TINY_SLOTS, GPU_SLOTS, CPU_SLOTS = 16, 8, 2
CONTEXT, LEAST_CONTEXT = 16_384, 4096  # tokens of a slot
SHARE = 0.9  # of the memory may be taken
HTTP_THREADS = 128  # each request, and each idle connection, holds one
#: What operators may not set by an argument, because reasrm does.
OWN = ("model.path", "hostnames", "port", "api_keys")
#: Defaults that a judge needs: votes are samples of the model's own distribution, and a reply is text as it was written.
JUDGING: Mapping[str, Any] = {
    "use_jinja": True,
    "reasoning_format": 0,
    "sampling.top_k": 0,
    "sampling.min_p": 0.0,
    "cache_ram_mib": 0,  # copies of the slots' caches, up to 8 GB by default, find hardly a prompt again
    "ui": False,
    "endpoint_slots": False,  # it shows prompts
    "verbosity": 1,
}


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """How a model is served: `slots` replies at once, each with `context` tokens; `arguments` are the operator's own."""

    model: GgufFile
    slots: int
    context: int
    arguments: Mapping[str, str] = field(default_factory=dict[str, str])
    port: int = field(default_factory=free_port)
    key: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of llama.cpp, by their names in xllamacpp."""
        # The threads of llama.cpp wait for each other at every step of a layer. For a tiny model that costs more than it gains, and
        # on a busy machine ten times as much.
        threads = 1 if self.model.size < TINY_BYTES else processors()
        return {
            **JUDGING,
            "n_parallel": self.slots,
            "n_ctx": self.slots * self.context,  # llama.cpp divides it among the slots
            "cpuparams.n_threads": threads,
            "cpuparams_batch.n_threads": threads,
            "n_threads_http": HTTP_THREADS + self.slots,
            "model_alias": [self.model.name],
            **self.arguments,
            "model.path": str(self.model.path),
            "hostnames": ["127.0.0.1"],
            "port": self.port,
            "api_keys": [self.key],
        }

    def process(self, on_line: Callable[[str], object]) -> ServerProcess:
        """The server's process, not started yet."""
        command = [sys.executable, "-P", str(SERVER)]
        return ServerProcess(
            f"llama.cpp with {self.model.name}",
            command,
            f"{self.url}/health",
            stdin=json.dumps(self.parameters) + "\n",
            on_line=on_line,
        )


def llama_server(
    model: GgufFile, *, slots: int | None = None, context: int | None = None, arguments: Mapping[str, str] | None = None
) -> LlamaServer:
    """How to serve `model` on this machine; given slots and context are taken as they are.

    Raises `InputError` where the model has no chat template or does not fit, `ReasrmError` where xllamacpp is not installed.
    """
    check_installed()
    arguments = arguments or {}
    for name in OWN:
        if name in arguments:
            raise InputError(f"--engine-arg {name}: the gateway sets it itself; leave it out", field="engine_arg")
    if not model.chat_template and "chat_template" not in arguments:
        message = f"{model.path} has no chat template, so it cannot judge: take a model that was trained to chat (instruct)"
        raise InputError(message, field="launch")
    tiny = model.size < TINY_BYTES
    gpu, memory = (0, memory_bytes()) if tiny else _devices()
    wanted = TINY_SLOTS if tiny else GPU_SLOTS if gpu else CPU_SLOTS
    chosen = _fitting(model, int(SHARE * (memory + gpu)), slots or wanted, context, fixed=slots is not None)
    return LlamaServer(model, *chosen, arguments)


def _fitting(model: GgufFile, memory: int, slots: int, context: int | None, *, fixed: bool) -> tuple[int, int]:
    """(slots, context) that fit into `memory` bytes beside the weights. Raises `InputError` where none do."""

    def needed() -> int:
        return model.size + slots * length * model.cache_bytes

    length = context or min(model.context or CONTEXT, CONTEXT)
    least = length if context else min(length, LEAST_CONTEXT)
    while needed() > memory and not fixed and slots > 1:
        slots //= 2
    while needed() > memory and length > least:
        length = max(least, length // 2)
    if needed() > memory:
        raise InputError(
            f"{model.name} needs {_gb(needed())} for {slots} × {length:,} tokens of context, and {_gb(memory)} are free for it: "
            "take a smaller model or quantization, or a smaller --context or --slots",
            field="launch",
        )
    return slots, length


def _devices() -> tuple[int, int]:
    """Bytes of the GPUs' memory and of this machine's."""
    shown = subprocess.run([sys.executable, "-P", str(SERVER), "devices"], capture_output=True, text=True, check=False)
    devices: list[dict[str, Any]] = json.loads(shown.stdout) if shown.returncode == 0 else []
    # An integrated GPU uses the machine's own memory.
    return sum(device["memory"] for device in devices if device["kind"] == "gpu"), memory_bytes()


def check_installed() -> None:
    """Raise `ReasrmError` where xllamacpp is not installed."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise ReasrmError(f"llama.cpp is not installed: {INSTALL}, or give an engine with --engine URL")


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
