"""Equal work in flight in this process is done once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    waiters: int = 0


class SingleFlight(Generic[T]):
    """Tasks by key. Callers that ask for a key in flight wait for the same task; the last one to leave cancels it."""

    def __init__(self, on_join: Callable[[], None] = lambda: None) -> None:
        self._flights: dict[str, _Flight[T]] = {}
        self._on_join = on_join

    def __len__(self) -> int:
        return len(self._flights)

    async def join(self, key: str, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the work for `key`, which `start` begins unless it is under way."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(start()))
            flight.task.add_done_callback(lambda _, flight=flight: self._drop(key, flight))
        else:
            self._on_join()
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                self._drop(key, flight)  # remove it at once: a new caller must not join a flight that is being cancelled
                flight.task.cancel()

    def _drop(self, key: str, flight: _Flight[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if flight.task.done() and not flight.task.cancelled():
            flight.task.exception()  # asyncio logs errors that nobody retrieves, and every caller may have left
