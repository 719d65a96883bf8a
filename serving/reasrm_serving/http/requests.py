"""Reading requests: the body within its limit, the model out of it, and whether its sender is still there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from reasrm_serving.auth.context import Caller, caller
from reasrm_serving.errors import Problem
from reasrm_serving.http.schemas import JudgeRequest, RequestEnvelope, Work
from reasrm_serving.wiring import services_of

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
REMEMBERED_BYTES = 65536  # longer bodies are parsed each time


async def read(request: Request, model: type[M]) -> M:
    """The request's JSON as a `model`. Raises `Problem`: 413 too large, 400 no JSON, 422 with the field that is wrong."""
    asked = _parsed(await _body(request), model)
    if isinstance(asked, RequestEnvelope):
        caller.set(Caller(asked.run, asked.subset))
    return asked


async def read_work(request: Request) -> tuple[Work, float]:
    """The judgment that is asked for, and its deadline. Equal bodies, as loops send them again and again, are parsed once."""
    services = services_of(request)
    body = await _body(request)
    known = services.engines.known
    work = None if known is None else services.works.get((body, known))
    asked = _parsed(body, JudgeRequest) if work is None else work.asked
    deadline = deadline_of(request, asked)
    if work is None:
        info = await services.engines.now(deadline)
        pair, options = asked.pair, asked.options(info.max_context)
        work = Work(asked, pair, options, await services.judge.key(pair, options))
        if len(body) <= REMEMBERED_BYTES:
            services.works[body, info] = work
    caller.set(Caller(asked.run, asked.subset))
    return work, deadline


def deadline_of(request: Request, asked: RequestEnvelope) -> float:
    """When what was read just now must be answered, as a time of the running loop's clock."""
    return asyncio.get_running_loop().time() + asked.within(services_of(request).settings.timeout_s)


def _parsed(body: bytes, model: type[M]) -> M:
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
    chunks: list[bytes] = []
    left = limit = int(services_of(request).settings.max_body_mb * 2**20)
    try:
        async for chunk in request.stream():
            left -= len(chunk)
            if left < 0:
                raise Problem(413, "too_large", f"the body is larger than {limit} bytes, which is the gateway's limit")
            chunks.append(chunk)
    except ClientDisconnect:
        raise _hung_up() from None
    return b"".join(chunks)


def _no_json(body: bytes, why: str) -> Problem:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return Problem(400, "not_utf8", f"the body is not UTF-8 (byte {error.start})")
    return Problem(400, "not_json", why[0].lower() + why[1:])


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client hangs up."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request.receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise _hung_up()
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))


def _hung_up() -> Problem:
    """Nobody reads it, but the count of requests does."""
    return Problem(499, "gone", "the client hung up")


async def _gone(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
