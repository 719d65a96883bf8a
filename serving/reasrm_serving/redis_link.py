"""The connection to Redis, which may go away and come back. An outage raises no error, delays no caller, and is always visible."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from reasrm.address import shown_address
from reasrm.errors import ConfigurationError

T = TypeVar("T")
TIMEOUT_S = 0.5  # seconds for one command: a verdict that Redis does not return by then is judged again
PROBE_S = 0.5


class RedisLink:
    """A Redis behind a circuit breaker: after one failure no command is sent until a ping succeeds, so a dead Redis costs no time.

    `up` is the current state; `on_error` is called for every failed command. Entering it raises `ConfigurationError` where Redis
    answers and refuses the password, because waiting does not cure that.
    """

    def __init__(self, url: str, on_error: Callable[[], None] = lambda: None) -> None:
        try:
            self.redis = Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
                url,
                socket_timeout=None,  # `ask` has a timeout for the whole command; redis-py's timeouts cost a task per write
                socket_connect_timeout=TIMEOUT_S,
                retry=Retry(NoBackoff(), 0),
                max_connections=256,
            )
        except ValueError as error:
            raise ConfigurationError(f"--cache: {shown_address(str(error))}", field="cache") from error
        self.up = True
        self._on_error = on_error
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> RedisLink:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await cast("Awaitable[Any]", self.redis.ping())  # pyright: ignore[reportUnknownMemberType]
        except (AuthenticationError, NoPermissionError, ResponseError) as error:
            if _refuses(error):
                await self.redis.aclose()
                raise ConfigurationError(
                    f"--cache: Redis refuses the user or password ({error}): correct them", field="cache"
                ) from None
            self._failed()
        except (RedisError, OSError):
            self._failed()
        self._watch = asyncio.create_task(self._watched())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watch is not None:
            self._watch.cancel()
        await self.redis.aclose()

    async def ask(self, command: Callable[[Redis], Awaitable[T]]) -> T | None:
        """The answer to `command`; None while Redis is away (no caller stores None)."""
        if not self.up:
            return None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await command(self.redis)
        except (RedisError, OSError):
            self._failed()
            return None

    def _failed(self) -> None:
        self.up = False
        self._on_error()

    async def _watched(self) -> None:
        while True:
            await asyncio.sleep(PROBE_S)
            if not self.up:
                try:
                    # A restarted Redis leaves the pool full of dead connections, each of which would open the circuit again.
                    async with asyncio.timeout(TIMEOUT_S):
                        await self.redis.connection_pool.disconnect(inuse_connections=False)
                        await cast("Awaitable[Any]", self.redis.ping())  # pyright: ignore[reportUnknownMemberType]
                    self.up = True
                except (RedisError, OSError):
                    continue


def _refuses(error: Exception) -> bool:
    """Whether Redis answered that it does not know the user or password."""
    return isinstance(error, AuthenticationError | NoPermissionError) or str(error).startswith(("NOAUTH", "WRONGPASS", "NOPERM"))
