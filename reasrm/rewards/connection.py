"""The connections of this process to gateways, on an event loop of their own.

Frameworks call reward functions from many event loops: one per step, one per worker, or none at all. Connections live on one
private loop in one thread, so they outlast each of these, and synchronous callers can use them too.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from reasrm.client import Judge

T = TypeVar("T")
#: Seconds for which requests to a gateway that is away are retried, for example while it restarts.
AWAY_S = 30.0


class GatewayConnections:
    """An event loop in a thread, and a client for each gateway."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._judges: dict[tuple[str, str | None, float], Judge] = {}
        threading.Thread(target=self.loop.run_forever, name="reasrm-rewards", daemon=True).start()

    def judge(self, url: str, token: str | None, timeout_s: float) -> Judge:
        """The client of the gateway at `url`. Call it on the loop. Raises `InputError` for an invalid address."""
        place = (url, token, timeout_s)
        if place not in self._judges:
            self._judges[place] = Judge(url, token=token, timeout_s=timeout_s, away_s=min(timeout_s, AWAY_S))
        return self._judges[place]


_lock = threading.Lock()
_connections: GatewayConnections | None = None


def _start(work: Callable[[GatewayConnections], Coroutine[Any, Any, T]]) -> Future[T]:
    global _connections
    with _lock:
        if _connections is None:
            _connections = GatewayConnections()
    return asyncio.run_coroutine_threadsafe(work(_connections), _connections.loop)


def _forget() -> None:
    """Forget the loop after a fork: a child process has the parent's memory but none of its threads."""
    global _lock, _connections
    _lock, _connections = threading.Lock(), None


os.register_at_fork(after_in_child=_forget)


def ask(work: Callable[[GatewayConnections], Coroutine[Any, Any, T]]) -> Awaitable[T]:
    """Do `work` with this process's connections. Cancelling this cancels the work."""
    return asyncio.wrap_future(_start(work))


def ask_and_wait(work: Callable[[GatewayConnections], Coroutine[Any, Any, T]]) -> T:
    """The same for callers without an event loop: blocks the calling thread."""
    return _start(work).result()
