"""Scoring on a Ray cluster: judge actors that share the gateways, fed by Ray Data; the journal stays with the driver.

Ray shards, retries and spills; the rows come back as they finish, go into the same journal, and end in the same output.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

from reasrm.datasets import DataRow, Example
from reasrm.errors import InputError, Refused
from reasrm.results import Scored
from reasrm.scoring.by_question import together
from reasrm.scoring.judges import JudgeAddress, connect
from reasrm.scoring.limiter import Limiter
from reasrm.scoring.progress import Progress, to_stderr
from reasrm.scoring.rows import How, judge_row
from reasrm.scoring.run import Job, Keeper, finish, open_journal, prepare
from reasrm.scoring.tally import Tally

CHUNK = 4096  # rows handed to Ray at once: the journal's window
BATCH = 64  # rows that an actor judges at once


class JudgeActor:
    """One process on the cluster that judges batches of rows, all rows of a batch at once."""

    def __init__(self, address: JudgeAddress, how: How, concurrency: int | None) -> None:
        self._address = address
        self._how = how
        self._limiter = Limiter(concurrency)
        self._loop = asyncio.new_event_loop()
        self._connection = connect(address, self._limiter)
        self._connected = self._loop.run_until_complete(self._connection.__aenter__())

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A batch of {"row": [JSON of an entry]} into {"row": [JSON of its `Scored`]}."""
        return {"row": self._loop.run_until_complete(self._judge([entry_of(text) for text in batch["row"]]))}

    async def _judge(self, entries: list[DataRow]) -> list[str]:
        judge = self._connected.judge
        rows = await asyncio.gather(*(judge_row(entry, judge, self._how) for entry in entries))
        return [row.model_dump_json() for row in rows]


def text_of(entry: DataRow) -> str:
    """An entry as JSON, without the row that it was read from."""
    example = None if entry.example is None else entry.example.model_dump(mode="json", exclude_defaults=True)
    return json.dumps([entry.index, entry.file, entry.number, example, entry.error])


def entry_of(text: str) -> DataRow:
    """The entry of `text_of`."""
    index, file, number, example, error = json.loads(text)
    return DataRow(index, file, number, {}, None if example is None else Example.model_validate(example), error)


def score_on_ray(
    job: Job,
    address: JudgeAddress,
    cluster: str,
    *,
    actors: int | None = None,
    concurrency: int | None = None,
    say: Callable[[str], None] = to_stderr,
) -> Tally:
    """Score `job` on the Ray cluster at `cluster` ("auto": the one this host belongs to), with one actor per node by default.

    Raises InputError where Ray is missing or no cluster answers, and what `score` raises.
    """
    ray = _ray(cluster)
    identity = asyncio.run(_identity(address))
    survey = prepare(job, say)
    nodes = sum(node["Alive"] for node in ray.nodes())
    say(f"Ray cluster of {nodes} nodes")
    with open_journal(job, survey, identity) as journal, Progress(survey.rows, journal.done.count, say=say) as progress:
        keeper = Keeper(job, journal, finished=lambda row: progress.add(row))
        left = together(entry for entry in job.data if entry.index not in journal.done)
        for chunk in _chunks(left):
            for row in _judged(ray, chunk, address, job.how, actors or max(1, nodes), concurrency):
                keeper.keep(row)
            journal.sync()
        keeper.keep_failed()
        return finish(job, journal, survey.rows)


def _judged(
    ray: Any, chunk: list[DataRow], address: JudgeAddress, how: How, actors: int, concurrency: int | None
) -> Iterator[Scored]:
    """The rows of a chunk as they finish. A batch whose node dies is judged again elsewhere."""
    blocks = max(1, min(4 * actors, len(chunk) // BATCH))
    rows = ray.data.from_items([{"row": text_of(entry)} for entry in chunk], override_num_blocks=blocks)
    judged = rows.map_batches(
        JudgeActor,
        fn_constructor_args=(address, how, concurrency),
        batch_size=BATCH,
        concurrency=actors,
        num_cpus=0.5,
    )
    try:
        for row in judged.iter_rows():
            yield Scored.model_validate_json(row["row"])
    except ray.exceptions.RayError as error:
        *_, last = str(error).strip().splitlines()  # the lines before it are the remote traceback
        raise Refused(
            f"the judges on the cluster failed: {last.strip()}. Finished rows are safe; run the same command again to go on"
        ) from error


def _chunks(entries: Iterator[DataRow]) -> Iterator[list[DataRow]]:
    while chunk := list(itertools.islice(entries, CHUNK)):
        yield chunk


async def _identity(address: JudgeAddress) -> dict[str, Any]:
    async with connect(address, Limiter()) as connected:
        return connected.identity


def _ray(cluster: str) -> Any:
    try:
        ray: Any = importlib.import_module("ray")
        data: Any = importlib.import_module("ray.data")
    except ImportError as error:
        raise InputError("Ray is needed for this; install it with: pip install 'reasrm[ray]'") from error
    if not ray.is_initialized():
        try:
            ray.init(address=cluster, log_to_driver=False, logging_level="warning")
        except (ConnectionError, ValueError) as error:
            raise InputError(f"no Ray cluster answers at {cluster!r}: {str(error).splitlines()[0]}", field="ray") from error
    data.DataContext.get_current().enable_progress_bars = False
    return ray
