"""The program that is llama.cpp's server. It ends when its standard input does: whoever started it is gone then.

    python -P llama_server.py            standard input: one line of JSON, the parameters by name ("sampling.top_k": 0)
    python -P llama_server.py devices    prints llama.cpp's devices as JSON

It imports nothing but xllamacpp, because a process that only serves weights needs no other memory.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from typing import Any

xllamacpp: Any = import_module("xllamacpp")  # it says nothing about its types


def _set(parameters: Any, name: str, value: Any) -> None:
    """Set `parameters.name`; texts, as a command line gives them, become what stands there by default."""
    *path, last = name.split(".")
    for part in path:
        parameters = getattr(parameters, part)
    now = getattr(parameters, last)
    if isinstance(value, str):
        if isinstance(now, bool):
            value = value.lower() in ("", "1", "true", "yes", "on")
        elif isinstance(now, int | float):
            value = type(now)(value) if type(now) in (int, float) else int(value)
        elif isinstance(now, list | set):
            value = value.split(",")
    setattr(parameters, last, set(value) if isinstance(now, set) else value)


def devices() -> list[dict[str, Any]]:
    """Name, kind ("cpu", "gpu", ...) and bytes of memory of every device."""
    return [
        {
            "name": device["name"],
            "kind": device["type"].name.removeprefix("GGML_BACKEND_DEVICE_TYPE_").lower(),
            "memory": device["memory_total"],
        }
        for device in xllamacpp.get_device_info()
    ]


def main() -> None:
    """Serve until standard input ends."""
    parameters = xllamacpp.CommonParams()
    for name, value in json.loads(sys.stdin.readline()).items():
        try:
            _set(parameters, name, value)
        except (AttributeError, TypeError, ValueError) as error:
            sys.exit(f"--engine-arg {name}={value}: {error}")
    server = xllamacpp.Server(parameters)
    sys.stdout.write(f"listening on {server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)  # the server's own threads would hold the process


if __name__ == "__main__":
    if sys.argv[1:] == ["devices"]:
        sys.stdout.write(json.dumps(devices()))
    else:
        main()
