"""An SGLang server that a run starts for itself, and ends."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from reasrm.errors import EngineUnreachable
from reasrm.launch import free_port
from reasrm.launch.sglang import sglang_server
from reasrm_training.model.sglang_server import SglangServer


@contextmanager
def started(command: str, model: str, log: Path, *flags: str) -> Iterator[SglangServer]:
    """Run an SGLang for the length of the `with`: `command` with the model, a free port and `flags` added; output goes to `log`.

    It is not restarted, because it would not have the weights that the run has sent. Raises EngineUnreachable with the end of
    its output where it does not start.
    """
    port = free_port()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", buffering=1) as out, ExitStack() as stack:
        process = sglang_server(
            shlex.split(command),
            model,
            port,
            *flags,
            env=_environment(),
            on_line=lambda line: out.write(f"{line}\n"),
            restart=False,
        )
        try:
            stack.enter_context(process)
        except EngineUnreachable as error:
            raise EngineUnreachable(f"rollouts.server: {error}\nIts whole log: {log}") from None
        yield SglangServer(f"http://127.0.0.1:{port}")


def _environment() -> dict[str, str]:
    """This process's environment without what a launcher wrote there about its place among the trainers."""
    places = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT"}
    prefixes = ("TORCHELASTIC_", "ACCELERATE_", "FSDP_")
    return {name: value for name, value in os.environ.items() if name not in places and not name.startswith(prefixes)}
