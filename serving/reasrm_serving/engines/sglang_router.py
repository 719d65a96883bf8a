"""`reasrm serve --workers`: sglang-router as a child of the gateway, spreading its requests over several SGLang servers.

It sends prompts that begin alike to the server that has the beginning in its prefix cache. It listens on loopback, is restarted if
it ends, and ends with the gateway, even if that is killed.

The child is this module, run with the router's arguments as JSON on its standard input: they may hold a key, and any user can read
the arguments of a process.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

from reasrm.errors import InputError
from reasrm.launch import ServerProcess, free_ports

log = logging.getLogger("reasrm.serving")
START_S = 60.0


@contextmanager
def router(workers: Sequence[str], key: str | None) -> Generator[str]:
    """Run the router before `workers` for the length of a `with`; gives its address once it answers.

    Workers may come later: until one is there the router, and so the gateway, is not ready. Raises `InputError` where
    sglang-router is not installed, `EngineUnreachable` where it does not start.
    """
    if find_spec("sglang_router") is None:
        raise InputError('--workers needs sglang-router: pip install "sglang-router>=0.3.2"', field="workers")
    port, metrics = free_ports(2)
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--policy", "cache_aware", "--log-level", "warn"]
    arguments += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics)]
    arguments += ["--shutdown-grace-period-secs", "1", "--worker-startup-check-interval", "2", "--worker-urls", *workers]
    arguments += ["--api-key", key] if key else []
    command = [sys.executable, "-m", "reasrm_serving.engines.sglang_router"]
    ready, order = f"http://127.0.0.1:{port}/liveness", json.dumps(arguments) + "\n"
    with ServerProcess("sglang-router", command, ready, stdin=order, on_line=_log_line, start_s=START_S):
        log.info("sglang-router spreads requests over %s; its metrics: http://127.0.0.1:%d/metrics", ", ".join(workers), metrics)
        yield f"http://127.0.0.1:{port}"


def _log_line(line: str) -> None:
    log.info("sglang-router: %s", line)


def _run() -> None:
    """The child: be the router."""
    launcher = import_module("sglang_router.launch_router")
    launcher.launch_router(launcher.parse_router_args(json.loads(sys.stdin.readline())))


if __name__ == "__main__":
    _run()
