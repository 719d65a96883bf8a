"""An SGLang server that a run starts for itself, and ends."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from reasrm.errors import EngineUnreachable
from reasrm_training.model.processes import end_with_parent
from reasrm_training.model.sglang_server import SglangServer, free_port

START_TIMEOUT_S = 1800.0
LOOK_EVERY_S = 0.2
END_TIMEOUT_S = 20.0


@contextmanager
def started(command: str, model: str, log: Path, *flags: str) -> Iterator[SglangServer]:
    """Run an SGLang for the length of the `with`: `command` with the model, a free port and `flags` added; output goes to `log`.

    Raises EngineUnreachable with the end of its log where it does not start.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    argv = [*shlex.split(command), "--model-path", model, "--host", "127.0.0.1", "--port", str(port), *flags]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        try:
            process = subprocess.Popen(
                argv,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=_environment(),
                preexec_fn=end_with_parent,
            )
        except OSError as error:
            raise EngineUnreachable(f"rollouts.server: cannot start {argv[0]}: {error}") from None
    try:
        _await_ready(process, url, log)
        yield SglangServer(url)
    finally:
        _end(process)


def _environment() -> dict[str, str]:
    """This process's environment without what a launcher wrote there about its place among the trainers."""
    places = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT"}
    prefixes = ("TORCHELASTIC_", "ACCELERATE_", "FSDP_")
    return {name: value for name, value in os.environ.items() if name not in places and not name.startswith(prefixes)}


def _await_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/health", timeout=5.0, trust_env=False).status_code == 200:
                return
        time.sleep(LOOK_EVERY_S)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
    raise EngineUnreachable(f"SGLang did not start; the end of {log}:\n{tail}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop the server and the workers that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_TIMEOUT_S)
            return
