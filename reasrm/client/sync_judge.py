"""`SyncJudge`: `Judge` without async, on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Coroutine, Iterable
from threading import Thread
from typing import Any, Concatenate, ParamSpec, TypeVar, Unpack

from reasrm.client.judge import Judge, JudgeSettings
from reasrm.client.options import JudgeOptions
from reasrm.errors import ConfigurationError
from reasrm.types import Judgment, Pair

P = ParamSpec("P")
T = TypeVar("T")


def _without_async(
    method: Callable[Concatenate[Judge, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SyncJudge, P], T]:
    """`method` as a method of `SyncJudge`, which waits for the result."""

    @functools.wraps(method)
    def waiting(self: SyncJudge, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._wait(lambda judge: method(judge, *args, **kwargs))  # pyright: ignore[reportPrivateUsage]

    return waiting


async def _all_of(judge: Judge, pairs: Iterable[Pair], **options: Unpack[JudgeOptions]) -> list[Judgment]:
    """Judge many pairs. The judgments are in the order of the pairs."""
    judgments = {index: judgment async for index, judgment in judge.pairs(pairs, **options)}
    return [judgments[index] for index in sorted(judgments)]


class SyncJudge:
    """`Judge` without async, for scripts and notebooks (a running event loop does not matter). Use as a context manager.

    A forked process gets its own connections and thread at its first request.
    """

    def __init__(self, url: str, **settings: Unpack[JudgeSettings]) -> None:
        self._closed = False
        self._make = functools.partial(Judge, url, **settings)
        self._start()

    def __enter__(self) -> SyncJudge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def shown(self) -> str:
        """The address without its password."""
        return self._judge.shown

    def close(self) -> None:
        """Close the connections. A second call does nothing."""
        if self._closed:
            return
        if self._pid == os.getpid():
            self._wait(Judge.aclose)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        self._closed = True

    judge = _without_async(Judge.judge)
    judge_or_raise = _without_async(Judge.judge_or_raise)
    pair = _without_async(Judge.pair)
    pairs = _without_async(_all_of)
    rank = _without_async(Judge.rank)
    reward = _without_async(Judge.reward)
    models = _without_async(Judge.models)
    ready = _without_async(Judge.ready)

    def _start(self) -> None:
        self._judge = self._make()  # before the thread starts, because wrong settings raise here
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="reasrm-judge", daemon=True)
        self._thread.start()

    def _wait(self, work: Callable[[Judge], Coroutine[Any, Any, T]]) -> T:
        if self._closed:
            raise ConfigurationError("this judge is closed: make another one")
        if self._pid != os.getpid():  # a fork copies the loop, but not the thread that runs it
            self._start()
        future = asyncio.run_coroutine_threadsafe(work(self._judge), self._loop)
        try:
            return future.result()
        except BaseException:  # an interrupt from the keyboard stops the judging too
            future.cancel()
            raise
