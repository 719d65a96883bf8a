"""`POST /v1/judge/stream`: one pair, as server-sent events: the replies as they are written, then the judgment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from reasrm.types import Order
from reasrm_serving.errors import failure_of, problem_of
from reasrm_serving.http.openapi import STREAMED, asks
from reasrm_serving.http.requests import DirectRoute, read
from reasrm_serving.http.schemas import JUDGE_EXAMPLES, JudgeRequest
from reasrm_serving.judging.service import GivenJudgment, PairRequest
from reasrm_serving.wiring import Services, services_of

router = APIRouter(tags=["judging"], route_class=DirectRoute)
QUIET = b": judging\n\n"
QUIET_S = 10.0  # seconds between signs of life: proxies close a silent stream
NOT_BUFFERED = {"cache-control": "no-store", "x-accel-buffering": "no"}


@router.post("/v1/judge/stream", operation_id="judge_stream", responses=STREAMED, openapi_extra=asks(JudgeRequest, JUDGE_EXAMPLES))
async def stream(request: Request) -> Response:
    """Judge two responses and watch: `delta` events with `order`, `reply` and `text`, then one `judgment` or `error` event."""
    services = services_of(request)
    body = await read(request, JudgeRequest)
    deadline = body.deadline(services.settings.timeout_s)
    info = await services.engines.now(deadline)
    work = services.judge.request(body.pair, body.options(info.max_context), info)
    if not services.queue.free and await services.judge.stored(work.key) is None:
        async with services.queue.turn(services.settings.turn_wait_s):
            pass  # a slot is free here: without one the answer is 429, which a stream that has begun could not send
    headers = NOT_BUFFERED | {"x-judgment-id": work.key}
    return StreamingResponse(_events(services, work, deadline), media_type="text/event-stream", headers=headers)


async def _events(services: Services, work: PairRequest, deadline: float) -> AsyncIterator[bytes]:
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue()

    def emit(order: Order, number: int, text: str) -> None:
        pieces.put_nowait(_delta(order, number, text))

    async def give() -> GivenJudgment:
        async with asyncio.timeout_at(deadline):
            return await services.judge.give(work, wait_s=services.settings.turn_wait_s, emit=emit)

    task = asyncio.create_task(give())
    task.add_done_callback(lambda _: pieces.put_nowait(None))
    seen = False
    try:
        async for piece in _pieces(pieces):
            seen = seen or piece is not QUIET
            yield piece
        if (error := task.exception()) is not None:
            yield _event("error", problem_of(error).body())
            return
        for event in _ending(task.result(), seen=seen):
            yield event
    finally:  # also when the client hangs up
        task.cancel()


async def _pieces(pieces: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
    """The pieces until None, with signs of life when they come slowly."""
    while True:
        try:
            piece = await asyncio.wait_for(pieces.get(), QUIET_S)
        except TimeoutError:
            yield QUIET
            continue
        if piece is None:
            return
        yield piece


def _ending(given: GivenJudgment, *, seen: bool) -> Iterator[bytes]:
    """The last events of a stream. Replies that were not streamed to this caller come first, each in one piece."""
    if (problem := failure_of(given.json)) is not None:
        yield _event("error", problem.body())
        return
    if not seen:
        for number, opinion in enumerate(given.json.read(cached=given.cached).opinions):
            yield _delta(opinion.order, number, opinion.reply)
    yield _event("judgment", given.json.body(cached=given.cached))


def _delta(order: Order, number: int, text: str) -> bytes:
    return _event("delta", orjson.dumps({"order": order, "reply": number, "text": text}))


def _event(name: str, data: bytes) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)
