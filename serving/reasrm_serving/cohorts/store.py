"""Who sits in a cohort: one table per (run, prompt), one round after the other, in Redis for all gateways or in this process.

A round is open until it is full or its deadline passes; then somebody closes it, ranks who sits there, and leaves the result.
Seats hold texts, not callers: a caller who goes leaves its response, and who asks again with the same text takes the place back.
A seat has a token, `NAME.UNIQUE` with a name drawn from its text: sitting down twice with the same token is sitting down once, so
that whoever knows of seats may put them back after the store has lost them.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Container
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from cachetools import TTLCache
from redis.asyncio import Redis

from reasrm_serving.redis_link import RedisLink

KEEP_S = 3600  # how long a closed round's result, and the table itself, are remembered


@dataclass(frozen=True, slots=True)
class Seat:
    """A place at a table: which `round` it is in, how many sit there, the seconds `left`, whether the round was over already.

    `token` is that of the seat, where it is the place of somebody who has gone.
    """

    round: int
    count: int
    left_s: float
    late: bool
    token: str


class Seats(Protocol):
    """The tables. Every method but `peek` answers None where the store is away."""

    async def join(self, table: str, token: str, text: bytes, size: int, wait_s: float) -> Seat | None:
        """Sit down in the open round, or as the latecomer of the last one, else in a new round."""
        ...

    async def leave(self, table: str, round_: int, token: str) -> None:
        """The caller has gone; its text stays, and the place is kept for who comes back with it."""
        ...

    async def count(self, table: str, round_: int) -> int | None:
        """How many sit in the round; -1 where it is not the table's (the store was restarted, or the next round has begun)."""
        ...

    async def peek(self, table: str, round_: int, known: Container[str]) -> dict[str, bytes]:
        """The texts by token of those at the table whose tokens are not `known`; none where the store is away."""
        ...

    async def close(self, table: str, round_: int) -> dict[str, bytes] | None:
        """Let nobody else in; returns the texts by token."""
        ...

    async def result(self, table: str, round_: int) -> bytes | None:
        """What `settle` left, if anything."""
        ...

    async def settle(self, table: str, round_: int, result: bytes) -> bool | None:
        """Leave the result of a round for all who wait for it and for latecomers."""
        ...


def name_of(token: str) -> str:
    """The name of the text that a seat holds."""
    return token.partition(".")[0]


@dataclass(slots=True)
class _Round:
    number: int
    size: int
    deadline: float
    texts: dict[str, bytes] = field(default_factory=dict[str, bytes])
    late: set[str] = field(default_factory=set[str])
    closed: bool = False
    vacant: set[str] = field(default_factory=set[str])

    @property
    def count(self) -> int:
        return len(self.texts) + len(self.late)


class LocalSeats:
    """The tables of this process."""

    def __init__(self) -> None:
        self._tables: TTLCache[str, _Round] = TTLCache(maxsize=100_000, ttl=KEEP_S)
        self._results: TTLCache[tuple[str, int], bytes] = TTLCache(maxsize=100_000, ttl=KEEP_S)

    async def join(self, table: str, token: str, text: bytes, size: int, wait_s: float) -> Seat:
        """See `Seats.join`."""
        now, name = time.monotonic(), name_of(token)
        at = self._tables.get(table)
        if at is not None:
            mine = token if token in at.texts else next((each for each in at.vacant if name_of(each) == name), None)
            if mine is not None:
                at.vacant.discard(mine)
                return Seat(at.number, at.count, at.deadline - now, late=False, token=mine)
        over = at is not None and (at.closed or now >= at.deadline)
        if at is None or at.count >= at.size or (over and now >= at.deadline + wait_s):
            at = self._tables[table] = _Round(at.number + 1 if at else 1, size, now + wait_s)
            over = False
        if over:
            at.late.add(token)
        else:
            at.texts[token] = text
        return Seat(at.number, at.count, at.deadline - now, over, token)

    async def leave(self, table: str, round_: int, token: str) -> None:
        """See `Seats.leave`."""
        at = self._tables.get(table)
        if at is not None and at.number == round_ and token in at.texts:
            at.vacant.add(token)

    async def count(self, table: str, round_: int) -> int:
        """See `Seats.count`."""
        at = self._tables.get(table)
        return at.count if at is not None and at.number == round_ else -1

    async def peek(self, table: str, round_: int, known: Container[str]) -> dict[str, bytes]:
        """See `Seats.peek`."""
        at = self._tables.get(table)
        if at is None or at.number != round_:
            return {}
        return {token: text for token, text in at.texts.items() if token not in known}

    async def close(self, table: str, round_: int) -> dict[str, bytes]:
        """See `Seats.close`."""
        at = self._tables.get(table)
        if at is None or at.number != round_:
            return {}
        at.closed = True
        return dict(at.texts)

    async def result(self, table: str, round_: int) -> bytes | None:
        """See `Seats.result`."""
        return self._results.get((table, round_))

    async def settle(self, table: str, round_: int, result: bytes) -> bool:
        """See `Seats.settle`."""
        self._results[table, round_] = result
        return True

    def forget(self, table: str) -> None:
        """Everybody has moved to another store."""
        self._tables.pop(table, None)


# State: one hash a table (round, size, late, deadline in ms, closed); a round's texts by token, and the tokens of vacant seats.
_JOIN = """
local now = redis.call('time'); now = now[1] * 1000 + math.floor(now[2] / 1000)
local token, name, text, size, wait, keep = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local at = redis.call('hmget', KEYS[1], 'round', 'size', 'late', 'deadline', 'closed')
local round, over = at[1], 0
if round then
  local texts, vacant = KEYS[1] .. ':' .. round .. ':texts', KEYS[1] .. ':' .. round .. ':vacant'
  local count = redis.call('hlen', texts) + tonumber(at[3])
  local mine = redis.call('hexists', texts, token) == 1 and token
  for _, each in ipairs(not mine and redis.call('smembers', vacant) or {}) do
    if string.sub(each, 1, #name + 1) == name .. '.' then mine = each end
  end
  if mine then
    redis.call('srem', vacant, mine)
    return {round, count, tonumber(at[4]) - now, 0, mine}
  end
  if at[5] == '1' or now >= tonumber(at[4]) then over = 1 end
  if count >= tonumber(at[2]) or (over == 1 and now >= tonumber(at[4]) + wait) then round = false end
end
if not round then
  round, over = tostring(math.max(now, tonumber(at[1] or 0) + 1)), 0
  redis.call('hset', KEYS[1], 'round', round, 'size', size, 'late', 0, 'deadline', now + wait, 'closed', 0)
end
local texts = KEYS[1] .. ':' .. round .. ':texts'
if over == 1 then
  redis.call('hincrby', KEYS[1], 'late', 1)
else
  redis.call('hset', texts, token, text)
  redis.call('expire', texts, keep)
end
redis.call('expire', KEYS[1], keep)
local state = redis.call('hmget', KEYS[1], 'late', 'deadline')
return {round, redis.call('hlen', texts) + tonumber(state[1]), tonumber(state[2]) - now, over, token}
"""
_COUNT = """
if redis.call('hget', KEYS[1], 'round') ~= ARGV[1] then return -1 end
return redis.call('hlen', KEYS[1] .. ':' .. ARGV[1] .. ':texts') + tonumber(redis.call('hget', KEYS[1], 'late'))
"""
_LEAVE = """
local texts, vacant = KEYS[1] .. ':' .. ARGV[1] .. ':texts', KEYS[1] .. ':' .. ARGV[1] .. ':vacant'
if redis.call('hget', KEYS[1], 'round') == ARGV[1] and redis.call('hexists', texts, ARGV[2]) == 1 then
  redis.call('sadd', vacant, ARGV[2])
  redis.call('expire', vacant, ARGV[3])
end
"""
_CLOSE = """
if redis.call('hget', KEYS[1], 'round') == ARGV[1] then redis.call('hset', KEYS[1], 'closed', 1) end
return redis.call('hgetall', KEYS[1] .. ':' .. ARGV[1] .. ':texts')
"""


class RedisSeats:
    """The tables that all gateways share."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def join(self, table: str, token: str, text: bytes, size: int, wait_s: float) -> Seat | None:
        """See `Seats.join`."""
        got = await self._eval(_JOIN, table, token, name_of(token), text, size, int(wait_s * 1000), KEEP_S)
        return Seat(int(got[0]), got[1], got[2] / 1000, bool(got[3]), got[4].decode()) if got is not None else None

    async def leave(self, table: str, round_: int, token: str) -> None:
        """See `Seats.leave`."""
        await self._eval(_LEAVE, table, round_, token, KEEP_S)

    async def count(self, table: str, round_: int) -> int | None:
        """See `Seats.count`."""
        return await self._eval(_COUNT, table, round_)

    async def peek(self, table: str, round_: int, known: Container[str]) -> dict[str, bytes]:
        """See `Seats.peek`."""
        name = f"reasrm:cohort:{{{table}}}:{round_}:texts"
        tokens = await self._link.ask(lambda redis: cast("Awaitable[list[bytes]]", redis.hkeys(name)))
        new = [token for token in tokens or () if token.decode() not in known]
        if not new:
            return {}
        texts = await self._link.ask(lambda redis: cast("Awaitable[list[bytes | None]]", redis.hmget(name, new)))
        return {token.decode(): text for token, text in zip(new, texts or (), strict=False) if text is not None}

    async def close(self, table: str, round_: int) -> dict[str, bytes] | None:
        """See `Seats.close`."""
        flat = await self._eval(_CLOSE, table, round_)
        return {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)} if flat is not None else None

    async def result(self, table: str, round_: int) -> bytes | None:
        """See `Seats.result`."""
        return await self._link.ask(lambda redis: cast("Awaitable[Any]", redis.get(result_name(table, round_))))

    async def settle(self, table: str, round_: int, result: bytes) -> bool | None:
        """See `Seats.settle`."""
        return await self._link.ask(lambda redis: cast("Awaitable[Any]", redis.set(result_name(table, round_), result, ex=KEEP_S)))

    async def _eval(self, script: str, table: str, *args: Any) -> Any:
        def run(redis: Redis) -> Awaitable[Any]:
            return redis.eval(script, 1, f"reasrm:cohort:{{{table}}}", *args)

        return await self._link.ask(run)


def result_name(table: str, round_: int) -> str:
    """Where Redis holds the result of a round."""
    return f"reasrm:cohort:{{{table}}}:{round_}:result"
