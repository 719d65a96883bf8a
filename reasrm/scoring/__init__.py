"""Offline scoring: judges a data set at the engine's full speed, and survives interruptions.

job = Job(DataSet("pairs.jsonl"), Path("judged.parquet"), How(Options()))
tally = await score(job, JudgeAddress(engine="http://127.0.0.1:30000"))
"""

from __future__ import annotations

from collections.abc import Callable

from reasrm.judge_address import JudgeAddress
from reasrm.scoring.judges import Connected, connect, engine_judge
from reasrm.scoring.limiter import Limiter
from reasrm.scoring.pace import PacedJudge
from reasrm.scoring.progress import Progress, to_stderr
from reasrm.scoring.rows import How, judge_row
from reasrm.scoring.run import Job, Scoring, collecting_rarely, finish, open_journal, prepare
from reasrm.scoring.tally import Tally

__all__ = [
    "Connected",
    "How",
    "Job",
    "JudgeAddress",
    "Limiter",
    "PacedJudge",
    "Tally",
    "connect",
    "engine_judge",
    "score",
    "score_with",
]


async def score(
    job: Job,
    address: JudgeAddress,
    *,
    limiter: Limiter | None = None,
    say: Callable[[str], None] | None = None,
    quiet: bool = False,
) -> Tally:
    """Score `job` by the judge at `address`, going on where an earlier run of it stopped.

    Raises InputError, EngineError or GatewayError before any token is spent, and Refused where the run cannot go on.
    """
    limiter = limiter or Limiter()
    async with connect(address, limiter) as connected:
        return await score_with(job, connected, limiter=limiter, say=say, quiet=quiet)


async def score_with(
    job: Job, connected: Connected, *, limiter: Limiter, say: Callable[[str], None] | None = None, quiet: bool = False
) -> Tally:
    """`score` with a connected judge, whose requests keep within `limiter`."""
    survey = prepare(job, say or to_stderr)
    judge = PacedJudge(connected.judge)
    with collecting_rarely(), open_journal(job, survey, connected.identity) as journal:
        with Progress(survey.rows, journal.done.count, say=say, quiet=quiet, pace=judge.pace) as progress:
            scoring = Scoring(
                job,
                journal,
                ahead=lambda: int(limiter.limit * 1.25) + 1,
                finished=lambda row: progress.add(row, limiter.in_flight),
            )
            await scoring.run(lambda entry: judge_row(entry, judge, job.how))
        return finish(job, journal, survey.rows)
