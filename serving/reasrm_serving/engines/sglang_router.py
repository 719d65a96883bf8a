"""`reasrm serve --workers`: sglang-router as a child of the gateway, spreading its requests over several SGLang servers.

It sends prompts that begin alike to the server that has the beginning in its prefix cache. It listens on loopback, is restarted if
it ends, and ends with the gateway, even if that is killed.

The child is this module, run with the router's arguments as JSON on its standard input: they may hold a key, and any user can read
the arguments of a process.
"""

from __future__ import annotations

import ctypes
import json
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

import httpx

from reasrm.errors import InputError, ReasrmError

log = logging.getLogger("reasrm.serving")
START_S = 60.0
AGAIN_S = 1.0
END_S = 10.0
PR_SET_PDEATHSIG = 1


@contextmanager
def router(workers: Sequence[str], key: str | None) -> Generator[str]:
    """Run the router before `workers` for the length of a `with`; gives its address once it answers.

    Workers may come later: until one is there the router, and so the gateway, is not ready. Raises `InputError` where
    sglang-router is not installed, `ReasrmError` where it does not start.
    """
    if find_spec("sglang_router") is None:
        raise InputError('--workers needs sglang-router: pip install "sglang-router>=0.3.2"', field="workers")
    port, metrics = _free_ports(2)
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--policy", "cache_aware", "--log-level", "warn"]
    arguments += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics)]
    arguments += ["--shutdown-grace-period-secs", "1", "--worker-startup-check-interval", "2", "--worker-urls", *workers]
    arguments += ["--api-key", key] if key else []
    child = _Child(arguments)
    try:
        _await(f"http://127.0.0.1:{port}/liveness", child)
        log.info("sglang-router spreads requests over %s; its metrics: http://127.0.0.1:%d/metrics", ", ".join(workers), metrics)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.end()


class _Child:
    """The router's process, and the thread that starts it again when it ends."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = json.dumps(list(arguments)).encode()
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self.ended = 0
        self._keeper = threading.Thread(target=self._keep, name="sglang-router", daemon=True)
        self._keeper.start()

    def end(self) -> None:
        """Stop it, by force if it takes its time."""
        self._over.set()
        if self._process is not None:
            self._process.terminate()
        self._keeper.join(END_S)
        if self._process is not None and self._keeper.is_alive():
            self._process.kill()
            self._keeper.join()

    def _keep(self) -> None:
        command = [sys.executable, "-m", "reasrm_serving.engines.sglang_router"]
        while not self._over.is_set():
            # In a session of its own, so that Ctrl-C does not stop it while the gateway finishes its requests.
            with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as self._process:
                self._process.communicate(self._arguments)
            self.ended += 1
            if not self._over.wait(AGAIN_S):
                log.error("sglang-router ended (%s): it is being restarted", self._process.returncode)


def _await(url: str, child: _Child) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and not child.ended:
        try:
            if httpx.get(url, timeout=2.0, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise ReasrmError("sglang-router did not start; its own messages are above")


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at this moment."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _run() -> None:
    """The child: end when the gateway does, even if it was killed; be the router."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    launcher = import_module("sglang_router.launch_router")
    launcher.launch_router(launcher.parse_router_args(json.load(sys.stdin)))


if __name__ == "__main__":
    _run()
