"""Running the gateway in this process, until it is told to stop."""

from __future__ import annotations

import logging
import os
import socket
import sys

import uvicorn

from reasrm.errors import InputError
from reasrm_serving.app import create_app
from reasrm_serving.settings import Settings

BACKLOG = 2048
FINISH_S = 30  # that requests under way get when the gateway is told to stop


def main(settings: Settings) -> None:
    """Listen and serve. Raises `InputError` where the address cannot be had; says where it listens on standard error."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    listening = _listen(settings.host, settings.port)
    host, port = listening.getsockname()[:2]
    config = uvicorn.Config(
        create_app(settings),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=FINISH_S,
        server_header=False,
    )
    sys.stderr.write(f"reasrm serves {settings.engine} on http://{_shown(host)}:{port} (API: /docs)\n")
    uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise InputError(f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}; another --port?", field="port") from None


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
