"""The one ASGI middleware, through which every request comes in: it counts, admits, and keeps deadlines."""

from __future__ import annotations

import asyncio
import math
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reasrm_serving.auth.context import NOBODY, Principal, principal
from reasrm_serving.auth.gate import Gate
from reasrm_serving.errors import Problem

#: Paths that need no key: the page, its files, and those that load balancers and Prometheus request.
OPEN_PATHS = ("/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/favicon.ico")
OPEN_FOLDERS = ("/static/",)
#: The headers that are read here.
_READ = frozenset((b"authorization", b"x-deadline", b"x-priority", b"sec-fetch-site", b"origin"))


class FrontDoor:
    """ASGI middleware: the key and its limits, `x-priority` (never above the key's) and `x-deadline` (Unix time in seconds).

    Work is stopped at its deadline, and a request after its deadline is refused. Answers are counted by route and
    status. Pages of other origins may not send requests through a visitor's browser, except those of `origins`.
    """

    def __init__(self, app: ASGIApp, gate: Gate | None, origins: tuple[str, ...] = ()) -> None:
        self.app, self.gate, self.origins = app, gate, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit the request, or answer the reason why not."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def counted(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                route = getattr(scope.get("route"), "path", "unknown")  # never the path itself: callers could invent labels
                scope["app"].state.services.metrics.answered(route, message["status"])
            await send(message)

        try:
            await self._admit(scope, receive, counted)
        except Problem as problem:
            await problem.response()(scope, receive, counted)
        except TimeoutError:
            if started:  # a stream has begun: its reader notices the missing end
                raise
            await Problem(504, "deadline", "the deadline came before the answer").response()(scope, receive, counted)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path in OPEN_PATHS or path.startswith(OPEN_FOLDERS):
            await self.app(scope, receive, send)
            return
        headers: dict[bytes, str] = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _READ}
        if headers.get(b"sec-fetch-site") == "cross-site" and headers.get(b"origin") not in self.origins:
            raise Problem(403, "foreign_origin", "a page of another origin may not send requests: allow it with --allow-origin")
        left_s = _left_s(headers.get(b"x-deadline"))
        header = headers.get(b"x-priority")
        if self.gate is None:
            principal.set(NOBODY if header is None else Principal(priority=_priority(header, 10)))
            await self._until(left_s, scope, receive, send)
            return
        key = self.gate.key_of(headers.get(b"authorization"))
        await self.gate.enter(key)
        try:
            priority = key.priority if header is None else _priority(header, key.priority)
            principal.set(Principal(key.name, priority, key.admin))
            await self._until(left_s, scope, receive, send)
        finally:
            self.gate.leave(key)

    async def _until(self, left_s: float | None, scope: Scope, receive: Receive, send: Send) -> None:
        if left_s is None:
            await self.app(scope, receive, send)
            return
        async with asyncio.timeout(left_s):
            await self.app(scope, receive, send)


def _left_s(deadline: str | None) -> float | None:
    if deadline is None:
        return None
    try:
        left = float(deadline) - time.time()
    except ValueError:
        left = math.nan
    if not math.isfinite(left):
        raise Problem(422, "invalid", f"x-deadline is a Unix time in seconds, not {deadline!r}", "x-deadline")
    if left <= 0:
        raise Problem(504, "deadline", "the deadline has passed: nothing was started")
    return left


def _priority(header: str, highest: int) -> int:
    try:
        priority = int(header)
    except ValueError:
        raise Problem(422, "invalid", f"x-priority is a whole number from -10 to 10, not {header!r}", "x-priority") from None
    return max(-10, min(priority, highest))
