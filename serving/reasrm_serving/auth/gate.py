"""Checks which callers may send requests, how many per time, and how many at once.

A key file (`reasrm serve --keys keys.toml`) lists callers by the hash of their token; without a file all callers may.

    [[key]]
    name = "team-a"
    sha256 = "..."            # of the token: `reasrm keys new team-a` prints both
    rate = "600/minute"       # requests, as the `limits` library writes it; across gateways that share a Redis
    concurrency = 64          # requests at once, in each gateway
    priority = 1              # judgments of a higher priority go first, -10 to 10
    admin = false             # may move weights
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import time
import tomllib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, cast

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.errors import StorageError
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from reasrm.errors import InputError
from reasrm.types import Frozen
from reasrm_serving.auth.context import principal
from reasrm_serving.errors import Problem

#: Seconds after which a silent Redis counts as away.
_QUICK = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}


def _rate(value: str) -> str:
    try:
        parse(value)
    except ValueError:
        raise ValueError(f'{value!r} is not a rate: write it as "600/minute"') from None
    return value


class Key(Frozen):
    """One caller. `sha256` is the hex hash of the token, `rate` a limit such as "600/minute"."""

    name: str = Field(min_length=1, max_length=100)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    rate: Annotated[str, AfterValidator(_rate)] | None = None
    concurrency: int | None = Field(default=None, ge=1)
    priority: int = Field(default=0, ge=-10, le=10)
    admin: bool = False


_KEYS = TypeAdapter(tuple[Key, ...])


def hashed(token: str) -> str:
    """The stored form of a token. Tokens are long and random, so that a plain hash hides them."""
    return hashlib.sha256(token.encode()).hexdigest()


def _token(authorization: str | None) -> str:
    """The bearer token of a request, or the password of an address such as http://team-a:TOKEN@gateway, which HTTP clients send as
    Basic.

    Training loops that can only configure an address have no other way. Empty if there is no token.
    """
    scheme, _, credentials = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def load_keys(path: Path) -> tuple[Key, ...]:
    """The keys in a file. Raises `InputError` in one line that names the file and what is wrong in it."""
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8")).get("key", [])
        keys = _KEYS.validate_python(rows)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"--keys: cannot read {path}: {error}", field="keys") from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(("key", *map(str, first["loc"])))
        raise InputError(f"--keys: {path}: {where}: {first['msg'].removeprefix('Value error, ')}", field="keys") from None
    if not keys:
        raise InputError(f"--keys: {path} lists no [[key]]; `reasrm keys new NAME` prints one", field="keys")
    if len({key.name for key in keys}) < len(keys):
        raise InputError(f"--keys: {path}: two keys have the same name", field="keys")
    return keys


class Gate:
    """The keys with their limits, which gateways with one `redis_url` share. While Redis is away, this process counts alone."""

    def __init__(self, keys: tuple[Key, ...], redis_url: str | None) -> None:
        self._keys = keys
        self._rates: dict[str, RateLimitItem] = {key.name: parse(key.rate) for key in keys if key.rate}
        self._local = MovingWindowRateLimiter(MemoryStorage())
        self._pool = _pool(redis_url) if redis_url else None
        self._shared = MovingWindowRateLimiter(_storage(self._pool)) if self._pool else None
        self._under_way: Counter[str] = Counter()

    async def aclose(self) -> None:
        """Close the connections to Redis."""
        if self._pool is not None:
            await self._pool.aclose()

    def key_of(self, authorization: str | None) -> Key:
        """The key of `token`. Raises `Problem` (401). Every key is compared, each in constant time."""
        token = _token(authorization)
        match = None
        if token:
            given = hashed(token)
            for key in self._keys:
                if hmac.compare_digest(given, key.sha256):
                    match = key
        if match is None:
            message = "this gateway needs an API key: send it as `Authorization: Bearer TOKEN`" if not token else "unknown API key"
            raise Problem(401, "unauthorized", message, headers={"www-authenticate": "Bearer"})
        return match

    async def enter(self, key: Key) -> None:
        """Count a request as started; `leave` must follow. Raises `Problem` (429) with the time to come back."""
        if key.concurrency is not None and self._under_way[key.name] >= key.concurrency:
            raise _too_many(f"{key.concurrency} requests of {key.name} are under way, which is its limit", 1.0)
        self._under_way[key.name] += 1  # before the first await, at which other requests run
        try:
            rate = self._rates.get(key.name)
            if rate is not None and (wait := await self._wait(rate, key.name)) is not None:
                raise _too_many(f"{key.name} may ask {key.rate}", wait)
        except BaseException:
            self.leave(key)
            raise

    def leave(self, key: Key) -> None:
        """Count a request as finished."""
        self._under_way[key.name] -= 1

    async def _wait(self, rate: RateLimitItem, name: str) -> float | None:
        """None where the request is within the rate, else the seconds to wait."""
        for limiter in (self._shared, self._local):
            if limiter is not None:
                try:
                    if await limiter.hit(rate, "key", name):
                        return None
                    return max(0.0, (await limiter.get_window_stats(rate, "key", name)).reset_time - time.time())
                except (RedisError, StorageError, OSError):
                    continue
        return None


def _pool(redis_url: str) -> ConnectionPool:
    return ConnectionPool.from_url(redis_url, **_QUICK)  # pyright: ignore[reportUnknownMemberType]


def _storage(pool: ConnectionPool) -> RedisStorage:
    """The counters behind `pool`, which knows the address."""
    return RedisStorage("async+redis://", implementation="redispy", connection_pool=cast("Any", pool))


def _too_many(message: str, wait_s: float) -> Problem:
    return Problem(429, "rate_limited", message, headers={"retry-after": str(max(1, math.ceil(wait_s)))})


def require_admin() -> None:
    """Raise `Problem` (403) unless an admin key asks."""
    if not principal.get().admin:
        raise Problem(403, "forbidden", "this needs an admin key: give one `admin = true` in the file of `reasrm serve --keys`")


def gate_of(keys: Path | None, redis_url: str | None) -> Gate | None:
    """The gate for a key file; None where there is none."""
    return None if keys is None else Gate(load_keys(keys), redis_url)
