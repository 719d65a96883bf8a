"""Putting requests to the oracles: many at once within a limit, retried within bounds, counted, and never beyond the budget."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import stamina

from reasrm.errors import EngineBusy, EngineError, EngineRefused, EngineUnreachable, ReasrmError, TooLong
from reasrm.types import Ask, Completer, Completion
from reasrm_training.config.endpoints import Endpoint
from reasrm_training.data.examples import PreferenceExample
from reasrm_training.oracle.budget import OracleBudget
from reasrm_training.oracle.examiner import Examiner, Pass, OracleRequest
from reasrm_training.oracle.journal import OracleJournal, Spend

#: Requests to an oracle that fail one after the other, each after all of its attempts, before it counts as gone.
GIVE_UP_AFTER = 20
LONGEST_PAUSE_S = 60.0
#: Faults of the request itself: no other attempt will do better.
_FINAL = (EngineRefused, TooLong)


@dataclass(slots=True)
class OracleProgress:
    """How a run of the oracles goes, for whoever watches. `failures` counts attempts without a completion, by kind."""

    examples: int
    done: int = 0
    kept: int = 0
    capped: bool = False
    spend: Spend = field(default_factory=Spend)
    failures: Counter[str] = field(default_factory=Counter[str])


Watch = Callable[[OracleProgress], None]


class OracleClient:
    """One run over the examples. Completers, by pass, may be any: it keeps to the endpoints' concurrency and to the budget."""

    def __init__(self, examiner: Examiner, journal: OracleJournal, engines: Mapping[Pass, Completer], watch: Watch) -> None:
        oracle = examiner.oracle
        self._examiner, self._journal, self._engines, self._watch = examiner, journal, engines, watch
        endpoints: dict[Pass, Endpoint] = {"first": oracle.first, "second": oracle.second or oracle.first}
        self._workers = sum(endpoint.concurrency for endpoint in endpoints.values())
        self._slots = {step: asyncio.Semaphore(endpoint.concurrency) for step, endpoint in endpoints.items()}
        self._budget = OracleBudget(oracle, journal)
        self._failed_in_a_row: Counter[Pass] = Counter()
        self._tally = OracleProgress(examples=0)

    async def all_of(self, examples: Sequence[PreferenceExample]) -> OracleProgress:
        """Ask until every example is done with or the budget is spent. Raises EngineUnreachable where an oracle is gone."""
        self._tally = OracleProgress(examples=len(examples), spend=self._journal.spend)
        queue = iter(examples)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._workers):
                    group.create_task(self._work(queue))
        except* (ReasrmError, OSError) as trouble:
            raise trouble.exceptions[0] from None
        return self._tally

    async def _work(self, queue: Iterator[PreferenceExample]) -> None:
        for example in queue:
            await self._one(example)
            self._tally.done += 1
            self._tally.kept += self._examiner.chain(example, self._journal.replies) is not None
            self._watch(self._tally)

    async def _one(self, example: PreferenceExample) -> None:
        """Ask what `example` still wants, until it wants nothing more or something gets no answer."""
        while wanted := self._examiner.wanted(example, self._journal.replies):
            if not all(await asyncio.gather(*(self._answer(request) for request in wanted))):
                return

    async def _answer(self, request: OracleRequest) -> bool:
        """Whether `request` got an answer."""
        ask = self._examiner.ask(request, self._journal.replies)
        async with self._slots[request.step], self._budget.room(request.step, ask) as room:
            completion = await self._complete(request.step, ask) if room else None
            self._tally.capped |= not room
            if completion is not None:
                self._journal.add(request, ask, completion)
                self._tally.spend = self._journal.spend
        return completion is not None

    async def _complete(self, step: Pass, ask: Ask) -> Completion | None:
        """A completion within the recipe's attempts, if there is one. Raises EngineUnreachable after too many failures."""
        try:
            async for attempt in stamina.retry_context(
                on=self._pause, attempts=self._examiner.oracle.attempts, timeout=None, wait_initial=0.5, wait_max=30.0
            ):
                with attempt:
                    completion = await self._engines[step].complete(ask)
                    self._failed_in_a_row[step] = 0
                    return completion
        except _FINAL as error:
            # It says nothing about an oracle that answered others; one that answers none does not fit the recipe.
            if step not in self._journal.answered:
                self._failed(step, error)
        except EngineError as error:
            self._failed(step, error)
        return None

    def _failed(self, step: Pass, error: Exception) -> None:
        self._failed_in_a_row[step] += 1
        if self._failed_in_a_row[step] >= GIVE_UP_AFTER:
            raise EngineUnreachable(
                f"oracle.{step}: {self._failed_in_a_row[step]} requests in a row failed, the last one so: {error}; "
                "what was answered is kept, run again to go on"
            ) from error

    def _pause(self, error: Exception) -> bool | float:
        if isinstance(error, EngineError | TooLong):
            self._tally.failures[type(error).__name__] += 1
        return pause(error)


def pause(error: Exception) -> bool | float:
    """Whether another attempt may help, and after how many seconds where the server said so."""
    if not isinstance(error, EngineError) or isinstance(error, EngineRefused):
        return False
    if isinstance(error, EngineBusy) and error.retry_after_s is not None:
        return min(error.retry_after_s, LONGEST_PAUSE_S)
    return True
