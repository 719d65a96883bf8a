"""Scores a data set: surveys it, judges it row by row into a journal, and writes the output at the end.

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
FAILURES = 20  # the run stops after so many consecutive rows that failed because of the engine
ROW_BYTES = 2000  # a row of the journal and again of the output, at least

#: Judges one row. The judge limits how many rows are judged concurrently.
JudgeRow = Callable[[DataRow], Awaitable[Scored]]


@dataclass(frozen=True, slots=True)
class Job:
    """A scoring job: its data, its output and its settings."""

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
    """Check everything that can be checked before any token is spent. Raises InputError or Refused."""
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
    """The journal of this run. Raises Refused if it belongs to a run with other rows, another judge or other settings."""
    identity = {"reasrm_journal": 1, "input": survey.digest, "rows": survey.rows, "schema": survey.schema}
    mapping = {"mapping": dict(job.data.mapping or {})}
    return Journal(job.journal, identity | mapping | {"judge": judge} | job.how.identity, restart=job.restart)


class Keeper:
    """Puts finished rows into the journal and passes them to `finished`. Raises Refused if the run must stop."""

    def __init__(self, job: Job, journal: Journal, finished: Callable[[Scored], None]) -> None:
        self._job = job
        self._journal = journal
        self._finished = finished
        self._failed: list[Scored] = []

    def keep(self, row: Scored) -> None:
        """Put a finished row into the journal. Rows that failed because of the engine are held until another row succeeds."""
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
        """Write the held rows, because the engine works again (or the run is over)."""
        for row in self._failed:
            self._keep(row)
        self._failed.clear()

    def _keep(self, row: Scored) -> None:
        self._journal.append(row.index, line_of(row))
        self._finished(row)


class Scoring:
    """A run in progress. `ahead` returns how many rows to hold in flight now; `finished` gets every row."""

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
        """Judge the unfinished rows. Raises the error that stops the run; finished rows are in the journal."""
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
        """The rows to judge, each as soon as there is room and it is within the window after the lowest unfinished row."""
        done = self._journal.done
        for entry in together(entry for entry in self._job.data if entry.index not in done):
            while len(self._active) >= self._ahead() or entry.index >= done.low + WINDOW:
                if not self._active:  # only held rows can block the window
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
        except Exception as error:  # noqa: BLE001 - any error stops the run, which raises it
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
    """A row as a line of JSON, without its end. Half of a surrogate pair, which only replies can hold, becomes a question mark."""
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
    """Run the cyclic garbage collector less often during the run, because rows leave no cycles.

    By default it runs after every 700 new objects, which are a dozen rows in flight. That took up to a seventh of a run's time,
    and more with more rows in flight. A wave of a thousand rows has about 50,000 objects, which reference counting frees.
    """
    before = gc.get_threshold()
    gc.set_threshold(before[0] and max(before[0], 100_000), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def finish(job: Job, journal: Journal, rows: int) -> Tally:
    """Write the journal's rows to the output and remove the journal. Returns the tally of the rows. Raises Refused."""
    if journal.done.low != rows:
        raise Refused(f"{journal.path} lacks {rows - journal.done.count:,} of {rows:,} rows")
    tally = Tally()
    write_output(job.output, _counted(journal.rows(), tally))
    journal.remove()
    return tally


class _Line(Scored):
    """A row from its line. The derived facts that `flat` added are ignored."""

    model_config = ConfigDict(extra="ignore")


def _counted(lines: Iterable[bytes], tally: Tally) -> Iterator[bytes]:
    for line in lines:
        tally.add(_Line.model_validate_json(line))
        yield line
