"""Putting requests to the oracles: many at once within a limit, retried within bounds, counted, and never beyond the budget."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import stamina

from reasrm.errors import (
    EngineBusy,
    EngineError,
    EngineNonsense,
    EngineTimeout,
    EngineUnreachable,
    TooLong,
)
from reasrm.types import Ask, Completer, Completion
from reasrm_training.config import Endpoint
from reasrm_training.data.examples import Example
from reasrm_training.oracle.examiner import Examiner, Pass, Reply, Request
from reasrm_training.oracle.journal import Journal, Spend, price

#: Requests that fail one after the other, each after all of its attempts, before the oracle counts as gone.
GIVE_UP_AFTER = 20
LONGEST_PAUSE_S = 60.0
_CURABLE = (EngineBusy, EngineUnreachable, EngineTimeout, EngineNonsense)

#: A request is answered, may be answered another time, or is refused for good.
Fate = Literal["answered", "open", "refused"]


@dataclass(slots=True)
class Tally:
    """How a run of the oracles goes, for whoever watches. `failures` counts attempts without a completion, by kind."""

    examples: int
    done: int = 0
    kept: int = 0
    unfinished: int = 0
    capped: bool = False
    spend: Spend = field(default_factory=Spend)
    failures: Counter[str] = field(default_factory=Counter[str])


Watch = Callable[[Tally], None]


class Asking:
    """One run over the examples. Completers, by pass, may be any: it keeps to the endpoints' concurrency and to the budget."""

    def __init__(self, examiner: Examiner, journal: Journal, engines: Mapping[Pass, Completer], watch: Watch) -> None:
        oracle = examiner.oracle
        self._examiner, self._journal, self._engines, self._watch = examiner, journal, engines, watch
        self._endpoints: dict[Pass, Endpoint] = {"first": oracle.first, "second": oracle.second or oracle.first}
        self._slots = {step: asyncio.Semaphore(endpoint.concurrency) for step, endpoint in self._endpoints.items()}
        self._reserved = Spend()
        self._failed_in_a_row = 0
        self._tally = Tally(examples=0)

    async def all_of(self, examples: Sequence[Example]) -> Tally:
        """Ask until every example is done with, the budget is spent or the oracle is gone (raises EngineUnreachable)."""
        self._tally = Tally(examples=len(examples), spend=self._journal.spend)
        queue = iter(examples)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(sum(endpoint.concurrency for endpoint in self._endpoints.values())):
                    group.create_task(self._work(queue))
        except* EngineUnreachable as gone:
            raise gone.exceptions[0] from None
        return self._tally

    async def _work(self, queue: Iterator[Example]) -> None:
        for example in queue:
            finished = await self._one(example)
            self._tally.done += 1
            self._tally.unfinished += not finished
            self._tally.kept += self._examiner.chain(example, self._journal.replies) is not None
            self._watch(self._tally)

    async def _one(self, example: Example) -> bool:
        """Ask what `example` still wants; whether it got everything."""
        while wanted := self._examiner.wanted(example, self._journal.replies):
            fates = await asyncio.gather(*(self._answer(request) for request in wanted))
            if set(fates) != {"answered"}:
                return "open" not in fates
        return True

    async def _answer(self, request: Request) -> Fate:
        ask = self._examiner.ask(request, self._journal.replies)
        async with self._slots[request.step]:
            at_most = self._at_most(request, ask)
            if not self._affordable(at_most):
                self._tally.capped = True
                return "open"
            self._reserved += at_most
            try:
                completion = await self._complete(request, ask)
            finally:
                self._reserved -= at_most
        if isinstance(completion, str):
            return completion
        reply = Reply(text=completion.text, truncated=completion.finish_reason == "length")
        self._journal.add(request.key, reply, completion.usage)
        self._tally.spend = self._journal.spend
        return "answered"

    async def _complete(self, request: Request, ask: Ask) -> Completion | Literal["open", "refused"]:
        """One completion within the recipe's attempts, or what became of it. Raises EngineUnreachable after too many failures."""
        try:
            async for attempt in stamina.retry_context(
                on=self._pause, attempts=self._examiner.oracle.attempts, timeout=None, wait_initial=0.5, wait_max=30.0
            ):
                with attempt:
                    completion = await self._engines[request.step].complete(ask)
                    self._failed_in_a_row = 0
                    return completion
        except TooLong:
            return "refused"
        except EngineError as error:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= GIVE_UP_AFTER:
                raise EngineUnreachable(
                    f"oracle: {self._failed_in_a_row} requests in a row failed, the last one so: {error}; "
                    "what was answered is kept, run again to go on"
                ) from error
            return "open" if isinstance(error, _CURABLE) else "refused"
        raise AssertionError("the last attempt returns or raises")

    def _pause(self, error: Exception) -> bool | float:
        """Whether another attempt may help, and after how many seconds where the server said so."""
        if isinstance(error, EngineError | TooLong):
            self._tally.failures[type(error).__name__] += 1
        if not isinstance(error, _CURABLE):
            return False
        if isinstance(error, EngineBusy) and error.retry_after_s is not None:
            return min(error.retry_after_s, LONGEST_PAUSE_S)
        return True

    def _at_most(self, request: Request, ask: Ask) -> Spend:
        """What a request can cost: a token is rarely less than three characters, and the reply may use its whole limit."""
        characters = sum(len(message.content) for message in ask.messages)
        return price(self._endpoints[request.step], characters // 3, ask.max_tokens)

    def _affordable(self, more: Spend) -> bool:
        oracle, sum_ = self._examiner.oracle, self._journal.spend + self._reserved + more
        within_tokens = oracle.max_tokens_total is None or sum_.tokens <= oracle.max_tokens_total
        return within_tokens and (oracle.max_usd is None or sum_.usd <= oracle.max_usd)
