"""A data set scored: surveyed, judged row by row into a journal, put into the output at the end.

At any moment the process may be killed; started again the same way it goes on, and the output has the same bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticSerializationError, to_json

from reasrm.datasets import DataRow, DataSet
from reasrm.errors import Refused
from reasrm.results import Scored
from reasrm.scoring.by_question import together
from reasrm.scoring.journal import WINDOW, Journal
from reasrm.scoring.output import check_output, write_output
from reasrm.scoring.rows import How
from reasrm.scoring.survey import Survey, survey
from reasrm.scoring.tally import Tally
from reasrm.types import TRANSIENT

SYNC_S = 1.0
FAILURES = 20  # rows in a row that fail for reasons of the engine before the run stops
ROW_BYTES = 2000  # a row of the journal and again of the output, at least

#: Judge a row. Rows come as they finish; how many are judged at once is the judge's to say.
JudgeRow = Callable[[DataRow], Awaitable[Scored]]


@dataclass(frozen=True, slots=True)
class Job:
    """What to score, into what, and how."""

    data: DataSet
    output: Path
    how: How
    restart: bool = False
    fail_fast: bool = False

    @property
    def journal(self) -> Path:
        """Where the finished rows are kept until the output is whole."""
        return self.output.with_name(self.output.name + ".journal")


def prepare(job: Job, say: Callable[[str], None] = lambda _: None) -> Survey:
    """Find out what can be known before any token is spent. Raises InputError or Refused."""
    check_output(job.output, restart=job.restart, journal=job.journal)
    if job.output.exists() and job.journal.exists() and not job.restart:
        say(f"{job.output} is being replaced by the run of {job.journal}")
    result = survey(job.data, fail_fast=job.fail_fast)
    for line in result.lines:
        say(line)
    free = shutil.disk_usage(job.output.parent).free
    if free < 2 * ROW_BYTES * result.rows:
        raise Refused(
            f"{job.output.parent} has {free / 1e6:,.0f} MB free, and {result.rows:,} rows take at least "
            f"{2 * ROW_BYTES * result.rows / 1e6:,.0f} MB"
        )
    return result


def open_journal(job: Job, survey: Survey, judge: dict[str, Any]) -> Journal:
    """The journal of this run. Raises Refused where it belongs to a run over other rows, by another judge, or done otherwise."""
    identity = {"reasrm_journal": 1, "input": survey.digest, "rows": survey.rows, "schema": survey.schema}
    mapping = {"mapping": dict(job.data.mapping or {})}
    return Journal(job.journal, identity | mapping | {"judge": judge} | job.how.identity, restart=job.restart)


class Keeper:
    """Puts finished rows into the journal and tells `finished` of them; where it may not go on, raises Refused."""

    def __init__(self, job: Job, journal: Journal, finished: Callable[[Scored], None]) -> None:
        self._job = job
        self._journal = journal
        self._finished = finished
        self._failed: list[Scored] = []

    def keep(self, row: Scored) -> None:
        """Put a finished row into the journal. Rows that the engine failed wait until it is seen to work for others."""
        if self._job.fail_fast and row.error:
            raise Refused(f"{row.file}, row {row.row}: {row.error}")
        if any(compared.reason in TRANSIENT for compared in row.comparisons):
            self._failed.append(row)
            if len(self._failed) >= FAILURES:
                why = next(compared for compared in row.comparisons if compared.reason in TRANSIENT)
                raise Refused(f"the last {FAILURES} rows all failed ({why.reason}: {why.detail})")
            return
        self._keep(row)
        if row.comparisons:
            self.keep_failed()

    def keep_failed(self) -> None:
        """Keep the rows that the engine failed, now that it is known to work (or that the run is over)."""
        for row in self._failed:
            self._keep(row)
        self._failed.clear()

    def _keep(self, row: Scored) -> None:
        self._journal.append(row.index, line_of(row))
        self._finished(row)


class Scoring:
    """A run in progress. `ahead` says how many rows to hold in flight now; `finished` is told of every row."""

    def __init__(
        self,
        job: Job,
        journal: Journal,
        *,
        ahead: Callable[[], int],
        finished: Callable[[Scored], None] = lambda _: None,
    ) -> None:
        self._job = job
        self._journal = journal
        self._ahead = ahead
        self._keeper = Keeper(job, journal, finished)
        self._active: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Event()
        self._stop: BaseException | None = None

    async def run(self, judge_row: JudgeRow) -> None:
        """Judge what is not done. Raises what stops the run; what was finished is in the journal."""
        syncing = asyncio.create_task(self._sync())
        try:
            async for entry in self._admitted():
                self._active.add(asyncio.create_task(self._one(entry, judge_row)))
            await asyncio.gather(*self._active)
            self._raise_stop()
            self._keeper.keep_failed()
        finally:
            await _cancelled(*self._active, syncing)
            self._journal.sync()

    async def _admitted(self) -> AsyncIterator[DataRow]:
        """The rows to judge, each when there is room for it and it is not too far ahead of the lowest unfinished one."""
        done = self._journal.done
        for entry in together(entry for entry in self._job.data if entry.index not in done):
            while len(self._active) >= self._ahead() or entry.index >= done.low + WINDOW:
                if not self._active:  # only rows that the engine failed hold the window back
                    self._keeper.keep_failed()
                    continue
                self._moved.clear()
                await self._moved.wait()
                self._raise_stop()
            self._raise_stop()
            yield entry

    async def _one(self, entry: DataRow, judge_row: JudgeRow) -> None:
        try:
            self._keeper.keep(await judge_row(entry))
        except Exception as error:  # noqa: BLE001 - whatever it is, it stops the run, and the run raises it
            self._stop = self._stop or error
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._active.discard(task)
            self._moved.set()

    def _raise_stop(self) -> None:
        if self._stop is not None:
            if isinstance(self._stop, Refused):
                raise Refused(f"{self._stop}. {self._journal.done.count:,} rows are safe; run the same command again to go on")
            raise self._stop

    async def _sync(self) -> None:
        while True:
            await asyncio.sleep(SYNC_S)
            await asyncio.to_thread(self._journal.sync)


def line_of(row: Scored) -> bytes:
    """A row as a line of JSON, without its end. Half of a surrogate pair, which only a reply may hold, becomes a question mark."""
    flat = row.flat()
    try:
        return to_json(flat)
    except PydanticSerializationError:
        return json.dumps(flat, ensure_ascii=False, separators=(",", ":"), default=BaseModel.model_dump).encode(errors="replace")


async def _cancelled(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def collecting_rarely() -> Generator[None]:
    """Look for cyclic garbage less often for a while, since rows leave none.

    By default every 700 new objects are looked at, which are a dozen rows in flight: up to a seventh of the time of a run, growing
    with their number. A wave of a thousand rows has some 50,000, and those go by themselves.
    """
    before = gc.get_threshold()
    gc.set_threshold(before[0] and max(before[0], 100_000), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def finish(job: Job, journal: Journal, rows: int) -> Tally:
    """Put the journal's rows into the output and take the journal away; what they say is the tally. Raises Refused."""
    if journal.done.low != rows:
        raise Refused(f"{journal.path} lacks {rows - journal.done.count:,} of {rows:,} rows")
    tally = Tally()
    write_output(job.output, _counted(journal.rows(), tally))
    journal.remove()
    return tally


class _Line(Scored):
    """A row out of its line; what `flat` put before its fields is passed over."""

    model_config = ConfigDict(extra="ignore")


def _counted(lines: Iterable[bytes], tally: Tally) -> Iterator[bytes]:
    for line in lines:
        tally.add(_Line.model_validate_json(line))
        yield line
