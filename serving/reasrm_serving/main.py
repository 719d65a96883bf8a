"""Runs the gateway: in the foreground until it is stopped, or in a thread of this process."""

from __future__ import annotations

import gc
import logging
import socket
import sys
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress

import uvicorn

from reasrm.errors import InputError
from reasrm_serving.app import create_app
from reasrm_serving.engines.launched import LaunchedEngine, launched
from reasrm_serving.engines.sglang_router import router
from reasrm_serving.settings import Settings, secret

BACKLOG = 2048
IDLE_S = 75  # longer than clients keep a connection: one that is closed as a request goes out loses a rollout
FINISH_S = 30  # seconds for requests under way when the gateway is stopped
GC_THRESHOLD = (20_000, 20, 50)  # collect garbage rarely: a request makes some hundred objects and hardly any cycle


def main(settings: Settings) -> None:
    """Listen and serve. Raises `InputError` if it cannot listen; prints its address on standard error."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with ExitStack() as stack:
        listening = stack.enter_context(_listen(settings.host, settings.port))
        engine = stack.enter_context(launched(settings))
        engines = engine.name if engine else ", ".join(settings.workers or settings.engine)
        if settings.workers:
            url = stack.enter_context(router(settings.workers, secret(settings.engine_key)))
            settings = settings.model_copy(update={"engine": (url,)})
        greeting = f"reasrm serves {engines} on {_url(listening)} (open it in a browser; API: /openapi.json)\n"
        server = _Server(settings, engine, greeting)
        try:
            server.run(sockets=[listening])
        except SystemExit:  # uvicorn's way to say that the app did not start
            raise server.app.state.failed from None


@contextmanager
def running(settings: Settings) -> Generator[str]:
    """A gateway in a thread of this process; yields its address once it answers. Raises the error of a failed start."""
    with _listen(settings.host, settings.port) as listening, launched(settings) as engine:
        server = _Server(settings, engine)
        thread = threading.Thread(target=server.run_quietly, args=(listening,), name="reasrm-gateway", daemon=True)
        thread.start()
        while not server.started:
            if not thread.is_alive():
                raise server.app.state.failed
            time.sleep(0.02)
        try:
            yield _url(listening)
        finally:
            server.should_exit = True
            thread.join()


class _Server(uvicorn.Server):
    """uvicorn with the gateway's settings, which prints `greeting` once it answers."""

    def __init__(self, settings: Settings, engine: LaunchedEngine | None, greeting: str = "") -> None:
        self.app = create_app(settings, engine)
        self._greeting = greeting
        config = uvicorn.Config(
            self.app,
            loop="uvloop",
            http="httptools",
            access_log=False,
            log_level="critical",  # the app logs its failures, or raises them here
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=FINISH_S,
            server_header=False,
            proxy_headers=False,  # the gateway does not use the client's address
        )
        super().__init__(config)

    def run_quietly(self, listening: socket.socket) -> None:
        """Run in a thread, where nobody can catch uvicorn's way to say that the app did not start; `failed` has the reason."""
        with suppress(SystemExit):
            self.run(sockets=[listening])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then greet."""
        await super().startup(sockets)
        if self._greeting:  # the gateway has this process for itself
            # Full collections walked all objects of the start, which delayed the slowest answers. Frozen ones are skipped.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLD)
            sys.stderr.write(self._greeting)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        why = error.strerror or str(error)
        raise InputError(f"cannot listen on {host}:{port}: {why}; another --host or --port?", field="port") from None


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
