"""Reading requests: the body within its limit, the model out of it, and whether its sender is still there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.routing import request_response
from starlette.types import Receive, Scope, Send

from reasrm_serving.auth.context import Caller, caller
from reasrm_serving.errors import Problem
from reasrm_serving.http.schemas import RequestEnvelope

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


class DirectRoute(APIRoute):
    """A route whose endpoint reads the request itself and returns a response: FastAPI has no dependencies to solve per request.

    FastAPI describes it in the API as any other.
    """

    def __init__(self, path: str, endpoint: Any, **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self._direct = request_response(endpoint)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the endpoint; FastAPI answers methods that the route does not take."""
        if scope["method"] in self.methods:
            await self._direct(scope, receive, send)
        else:
            await super().handle(scope, receive, send)


async def read(request: Request, model: type[M]) -> M:
    """The request's JSON as a `model`.

    Raises `Problem`: 413 where the body is larger than the app's `state.max_body_bytes`, 415 where it is compressed, 400 where it
    is no JSON, 422 with the field that is wrong.
    """
    fields = parsed(await _body(request), model)
    if isinstance(fields, RequestEnvelope):
        caller.set(Caller(fields.run, fields.subset))
    return fields


def parsed(body: bytes, model: type[M]) -> M:
    """`body` as a `model`. Raises `Problem`: 400 where it is not JSON, 422 with the field that is wrong."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise _no_json(body, first["msg"]) from None
        field = ".".join(str(part) for part in first["loc"]) or None
        message = first["msg"].removeprefix("Value error, ")
        raise Problem(422, "invalid", f"{field}: {message}" if field else message, field) from None


async def _body(request: Request) -> bytes:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise Problem(415, "unsupported_encoding", f"the gateway takes no compressed bodies: send it without {encoding!r}")
    chunks: list[bytes] = []
    left = limit = request.app.state.max_body_bytes
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise _hung_up()
        chunk: bytes = message.get("body", b"")
        left -= len(chunk)
        if left < 0:
            raise Problem(413, "too_large", f"the body is larger than {limit} bytes, which is the gateway's limit")
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _no_json(body: bytes, reason: str) -> Problem:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return Problem(400, "not_utf8", f"the body is not UTF-8 (byte {error.start})")
    return Problem(400, "not_json", reason[0].lower() + reason[1:])


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client hangs up."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - the server runs every request in a task
    hung_up = finished = False

    def stop(watch: asyncio.Future[None]) -> None:
        nonlocal hung_up
        if not watch.cancelled() and not finished:
            hung_up = True
            task.cancel()

    watch = asyncio.ensure_future(_gone(request.receive))
    watch.add_done_callback(stop)
    try:
        return await work
    except asyncio.CancelledError:
        if hung_up and not task.uncancel():  # nobody else cancelled it
            raise _hung_up() from None
        raise
    finally:
        finished = True
        watch.cancel()


def _hung_up() -> Problem:
    """No client reads this answer, but the request metrics count it."""
    return Problem(499, "gone", "the client hung up")


async def _gone(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
