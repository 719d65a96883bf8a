"""Requests to the oracles: many at once within a limit, retried within bounds, counted, and never beyond the budget."""

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
from reasrm_training.oracle.examiner import Examiner, OracleRequest, Pass
from reasrm_training.oracle.journal import OracleJournal, Spend

#: An oracle counts as gone after this many requests in a row have failed, each after all of its attempts.
GIVE_UP_AFTER = 20
MAX_PAUSE_S = 60.0
#: Faults of the request itself, for which another attempt cannot help.
_FINAL = (EngineRefused, TooLong)


@dataclass(slots=True)
class OracleProgress:
    """How far a run of the oracles is. `failures` counts the attempts without a completion, by the name of their error."""

    examples: int
    done: int = 0
    kept: int = 0
    capped: bool = False
    spend: Spend = field(default_factory=Spend)
    failures: Counter[str] = field(default_factory=Counter[str])


Watch = Callable[[OracleProgress], None]


class OracleClient:
    """One run over the examples, with any completer for each pass. It keeps to the endpoints' concurrency and to the budget."""

    def __init__(self, examiner: Examiner, journal: OracleJournal, engines: Mapping[Pass, Completer], watch: Watch) -> None:
        oracle = examiner.oracle
        self._examiner, self._journal, self._engines, self._watch = examiner, journal, engines, watch
        endpoints: dict[Pass, Endpoint] = {"first": oracle.first, "second": oracle.second or oracle.first}
        self._workers = sum(endpoint.concurrency for endpoint in endpoints.values())
        self._slots = {step: asyncio.Semaphore(endpoint.concurrency) for step, endpoint in endpoints.items()}
        self._budget = OracleBudget(oracle, journal)
        self._failed_in_a_row: Counter[Pass] = Counter()
        self._tally = OracleProgress(examples=0)

    async def run(self, examples: Sequence[PreferenceExample]) -> OracleProgress:
        """Send requests until all examples are finished or the budget is spent. Raises EngineUnreachable if an oracle is gone."""
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
            await self._finish(example)
            self._tally.done += 1
            self._tally.kept += self._examiner.chain(example, self._journal.replies) is not None
            self._watch(self._tally)

    async def _finish(self, example: PreferenceExample) -> None:
        """Send the open requests of `example`, until there are none or one gets no answer."""
        while requests := self._examiner.open_requests(example, self._journal.replies):
            if not all(await asyncio.gather(*(self._answer(request) for request in requests))):
                return

    async def _answer(self, request: OracleRequest) -> bool:
        """Send `request` and keep its reply. False where it got none."""
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
            # This tells nothing about an oracle that has answered other requests. One that answers none does not fit the recipe.
            if step not in self._journal.answered:
                self._failed(step, error)
        except EngineError as error:
            self._failed(step, error)
        return None

    def _failed(self, step: Pass, error: Exception) -> None:
        self._failed_in_a_row[step] += 1
        if self._failed_in_a_row[step] >= GIVE_UP_AFTER:
            raise EngineUnreachable(
                f"oracle.{step}: {self._failed_in_a_row[step]} requests in a row failed, the last one with: {error}; "
                "the replies so far are kept, run again to go on"
            ) from error

    def _pause(self, error: Exception) -> bool | float:
        if isinstance(error, EngineError | TooLong):
            self._tally.failures[type(error).__name__] += 1
        return pause(error)


def pause(error: Exception) -> bool | float:
    """Whether another attempt may help. Where the server named a time to wait, the seconds until then, up to a limit."""
    if not isinstance(error, EngineError) or isinstance(error, EngineRefused):
        return False
    if isinstance(error, EngineBusy) and error.retry_after_s is not None:
        return min(error.retry_after_s, MAX_PAUSE_S)
    return True
