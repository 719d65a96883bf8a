"""The embedded engine: a model of transformers in this process, in a thread of its own, its requests batched as they come."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from reasrm.engine import EngineInfo
from reasrm.errors import EngineError, EngineRefused, InputError
from reasrm.prompts import Pack, load_pack
from reasrm.types import Ask, Completion, Message, Usage
from reasrm_serving.engines.domain import Domain, load_domain
from reasrm_serving.engines.embedded_model import EmbeddedModel, Row, RowReply
from reasrm_serving.settings import Settings

log = logging.getLogger("reasrm.serving")
MAX_ROWS = 32
MAX_TOKENS = 65536  # tokens of a batch, prompts and replies together, that its key-value cache may hold
FIRST = Ask(messages=(Message(role="user", content="?"),), max_tokens=2)
GATHER_S = 0.003  # seconds that a batch waits for more requests: both orders of a pair arrive within less


@dataclass(slots=True)
class _GenerationJob:
    row: Row
    future: asyncio.Future[Completion]
    loop: asyncio.AbstractEventLoop
    started: float

    def settle(self, result: Completion | Exception) -> None:
        """Hand over the result, from the engine's thread."""
        self.loop.call_soon_threadsafe(self._set, result)

    def _set(self, result: Completion | Exception) -> None:
        if self.future.done():
            return
        if isinstance(result, Exception):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class EmbeddedEngine:
    """A `Completer` over a `EmbeddedModel`. A request whose caller leaves is dropped from its batch."""

    def __init__(self, model: EmbeddedModel) -> None:
        self._model = model
        self._info = EngineInfo(model.name, model.weight_version, model.max_context)
        self._jobs: queue.Queue[_GenerationJob | None] = queue.Queue()
        self._under_way: list[_GenerationJob] = []
        self._thread = threading.Thread(target=self._work, name="reasrm-local-engine", daemon=True)
        self._thread.start()

    async def info(self, *, refresh: bool = False) -> EngineInfo:
        """The served model, which never changes."""
        return self._info

    async def complete(self, ask: Ask) -> Completion:
        """One completion. Raises `TooLong`, or `EngineError` where the model fails."""
        job = self._submit(ask, None)
        try:
            return await job.future
        finally:
            job.row.cancelled = True

    async def stream(self, ask: Ask) -> AsyncIterator[str | Completion]:
        """The reply's text in pieces as it is written, then the whole completion."""
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        job = self._submit(ask, lambda text: loop.call_soon_threadsafe(pieces.put_nowait, text) and None)
        job.future.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
            yield await job.future
        finally:
            job.row.cancelled = True

    async def aclose(self) -> None:
        """Drop the requests under way and end the thread."""
        self._jobs.put(None)
        for job in tuple(self._under_way):
            job.row.cancelled = True
        await asyncio.to_thread(self._thread.join)

    def _submit(self, ask: Ask, on_text: Callable[[str], Any] | None) -> _GenerationJob:
        loop = asyncio.get_running_loop()
        job = _GenerationJob(Row(ask, [], on_text), loop.create_future(), loop, time.perf_counter())
        self._jobs.put(job)
        return job

    def _work(self) -> None:
        """The thread: take the queued requests, write their replies, hand them over, until the end."""
        waiting: list[_GenerationJob] = []
        while self._take(waiting):
            batch = _fitting(waiting)
            del waiting[: len(batch)]
            self._under_way = batch
            self._write([job for job in batch if not job.row.cancelled])

    def _take(self, waiting: list[_GenerationJob]) -> bool:
        """Move what is queued into `waiting`, at least one; False at the end."""
        while True:
            try:
                job = self._jobs.get(timeout=GATHER_S if waiting else None)
            except queue.Empty:
                return True
            if job is None:
                return False
            try:
                job.row.ids = self._model.encode(job.row.ask)
                waiting.append(job)
            except Exception as error:  # noqa: BLE001 - a template may raise anything; only its own request fails
                job.settle(error if isinstance(error, InputError) else EngineRefused(f"the prompt cannot be rendered: {error}"))

    def _write(self, jobs: list[_GenerationJob]) -> None:
        if not jobs:
            return
        try:
            replies = self._model.write([job.row for job in jobs])
        except Exception as error:
            log.exception("the embedded engine failed")
            for job in jobs:
                job.settle(EngineError(f"the embedded engine failed: {type(error).__name__}"))
            return
        for job, reply in zip(jobs, replies, strict=True):
            job.settle(self._completion(job, reply))

    def _completion(self, job: _GenerationJob, reply: RowReply) -> Completion:
        return Completion(
            text=reply.text,
            finish_reason=reply.finish_reason,
            tokens=reply.tokens,
            usage=Usage(prompt_tokens=len(job.row.ids), completion_tokens=reply.count, requests=1),
            seconds=time.perf_counter() - job.started,
            model=self._info.model,
            weight_version=self._info.weight_version,
        )


def _fitting(waiting: list[_GenerationJob]) -> list[_GenerationJob]:
    """As many of the first as one batch may hold, at least one."""
    tokens = 0
    for count, job in enumerate(waiting[:MAX_ROWS]):
        tokens += len(job.row.ids) + job.row.ask.max_tokens
        if count and tokens > MAX_TOKENS:
            return waiting[:count]
    return waiting[:MAX_ROWS]


def open_embedded(settings: Settings) -> tuple[EmbeddedEngine, Pack, Domain | None]:
    """The engine, its prompt pack and its domain, for the model that `settings` name. Raises `InputError`."""
    folder = settings.model_folder
    model = EmbeddedModel(folder, settings.device)
    model.write([Row(FIRST, model.encode(FIRST))])  # transformers and torch load more modules at the first reply, so write one now
    domain = load_domain(folder)
    pack = load_pack(settings.prompts or ("world" if domain else "rubric"))
    return EmbeddedEngine(model), pack, domain
