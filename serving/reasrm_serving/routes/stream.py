"""`POST /v1/judge/stream`: one pair, as server-sent events: the replies as they are written, then the judgment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from reasrm.types import Options, Order, Pair
from reasrm_serving.errors import failure_of, problem_of
from reasrm_serving.http.openapi import STREAMED, asks
from reasrm_serving.http.requests import read_work
from reasrm_serving.http.schemas import JUDGE_EXAMPLES, JudgeRequest
from reasrm_serving.judgment_json import JudgmentJson
from reasrm_serving.wiring import Services, services_of

router = APIRouter(tags=["judging"])
QUIET = b": judging\n\n"
QUIET_S = 10.0  # proxies close a stream that says nothing for long
NOT_BUFFERED = {"cache-control": "no-store", "x-accel-buffering": "no"}


@router.post("/v1/judge/stream", operation_id="judge_stream", responses=STREAMED, openapi_extra=asks(JudgeRequest, JUDGE_EXAMPLES))
async def stream(request: Request) -> Response:
    """Judge two responses and watch: `delta` events with `order`, `reply` and `text`, then one `judgment` or `error` event."""
    services = services_of(request)
    (_, pair, options, key), deadline = await read_work(request)
    services.queue.check()
    headers = NOT_BUFFERED | {"x-judgment-id": key}
    return StreamingResponse(_events(services, key, pair, options, deadline), media_type="text/event-stream", headers=headers)


async def _events(services: Services, key: str, pair: Pair, options: Options, deadline: float) -> AsyncIterator[bytes]:
    started = time.perf_counter()
    found = await services.judge.cached(key)
    if found is not None:
        services.judge.gave(key, pair, options, found, time.perf_counter() - started, cached=True)
        for event in _replayed(found):
            yield event
        return
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
    task = asyncio.create_task(_judged(services, key, pair, options, deadline, pieces))
    task.add_done_callback(lambda _: pieces.put_nowait(None))
    spoken = False
    try:
        async for piece in _pieces(pieces):
            spoken = spoken or piece is not QUIET
            yield piece
        if (error := task.exception()) is not None:
            yield _event("error", problem_of(error).body())
            return
        services.judge.gave(key, pair, options, task.result(), time.perf_counter() - started, cached=False)
        for event in _replayed(task.result(), spoken=spoken):
            yield event
    finally:  # also when the client hangs up
        task.cancel()


async def _judged(
    services: Services, key: str, pair: Pair, options: Options, deadline: float, pieces: asyncio.Queue[bytes | None]
) -> JudgmentJson:
    def emit(order: Order, number: int, text: str) -> None:
        pieces.put_nowait(_delta(order, number, text))

    async with asyncio.timeout_at(deadline), services.queue.in_turn():
        return await services.judge.reply(key, pair, options, emit)


async def _pieces(pieces: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
    """The pieces until None, and a sign of life where they are slow in coming."""
    while True:
        try:
            piece = await asyncio.wait_for(pieces.get(), QUIET_S)
        except TimeoutError:
            yield QUIET
            continue
        if piece is None:
            return
        yield piece


def _replayed(reply: JudgmentJson, *, spoken: bool = False) -> Iterator[bytes]:
    """What ends a stream; a reply that nobody here saw being written comes first, each opinion in one piece."""
    if (problem := failure_of(reply)) is not None:
        yield _event("error", problem.body())
        return
    if not spoken:
        for number, opinion in enumerate(reply.read().opinions):
            yield _delta(opinion.order, number, opinion.reply)
    yield _event("judgment", reply.body())


def _delta(order: Order, number: int, text: str) -> bytes:
    return _event("delta", orjson.dumps({"order": order, "reply": number, "text": text}))


def _event(name: str, data: bytes) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)
