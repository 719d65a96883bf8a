"""A small HTTP/1.1 load: a given number of connections, each with one request under way, and their results.

A general client costs more CPU per request than the servers that are measured here; this one writes bytes and reads a length.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Seen:
    """The results of a load: the number of requests answered with 200, the seconds, and the latencies in seconds."""

    count: int
    seconds: float
    latencies: list[float]

    @property
    def per_s(self) -> float:
        return self.count / self.seconds

    def ms(self, percent: float) -> float:
        """A percentile of the latency, in milliseconds."""
        return float(np.percentile(self.latencies, percent)) * 1000


def post(path: str, body: bytes) -> bytes:
    """The bytes of a POST."""
    head = f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class _Caller(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], until: float, done: asyncio.Future[None], latencies: list[float]) -> None:
        self._requests, self._until, self._done, self._latencies = requests, until, done, latencies
        self._buffer, self._sent = b"", 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._next()

    def _next(self) -> None:
        request = next(self._requests, None) if time.perf_counter() < self._until else None
        if request is None:
            self._done.set_result(None)
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = _LENGTH.search(head)
        if not head.startswith(b"HTTP/1.1 200") or length is None:
            self._fail(f"answered {self._buffer[:300]!r}")
        elif len(body) >= int(length.group(1)):
            self._latencies.append(time.perf_counter() - self._sent)
            self._buffer = b""
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the server closed the connection")

    def _fail(self, why: str) -> None:
        if not self._done.done():
            self._done.set_exception(RuntimeError(why))


def load(port: int, requests: Iterator[bytes], *, connections: int, seconds: float = 1e9) -> Seen:
    """Send `requests` to `port` of this machine until they end or `seconds` are over. Raises RuntimeError at the first failure."""
    latencies: list[float] = []

    async def run() -> float:
        loop = asyncio.get_running_loop()
        started = time.perf_counter()
        done = [loop.create_future() for _ in range(connections)]
        for future in done:
            await loop.create_connection(
                lambda future=future: _Caller(requests, started + seconds, future, latencies), "127.0.0.1", port
            )
        await asyncio.gather(*done)
        return time.perf_counter() - started

    took = uvloop.run(run())
    return Seen(len(latencies), took, latencies)
