"""`reasrm score`: judges a data set into a file."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from reasrm.commands.settings import DataSettings, JobSettings, JudgingSettings, report_field
from reasrm.errors import InputError
from reasrm.judge_address import JudgeAddress
from reasrm.judging.group import MethodName, RankOptions
from reasrm.messages import Frozen
from reasrm.wording import plain, terminal_json

if TYPE_CHECKING:
    from reasrm.scoring import Job, Tally

EXAMPLES = """Examples:

  reasrm score pairs.jsonl -o judged.jsonl

  reasrm score Skywork.parquet -o judged.parquet --engine http://sglang:30000 --prompts rubric --report report.html

  reasrm score my.csv -o judged.jsonl --map prompt=text,chosen=good,rejected=bad

  zcat pairs.jsonl.gz | reasrm score - -o judged.jsonl

  reasrm score rmb/BoN_set -o judged.jsonl --one-order --url http://judge:8900

  reasrm score huge/ -o judged.parquet --ray auto

SOURCE is a file (.jsonl .json .csv .tsv .parquet .arrow, each also with .gz or .zst), a folder of them, a data set saved by
datasets, a hub id, or - for JSON lines from standard input. Finished rows are kept in OUTPUT.journal: the same command goes on
where a run stopped."""


class ScoreSettings(Frozen):
    """The output of a scoring."""

    output: Path = Field(description="The file to write: .jsonl or .parquet.", json_schema_extra={"flags": ["-o", "--output"]})
    method: MethodName = Field(
        default=RankOptions.model_fields["method"].default,
        description="The ranking method for rows that name no comparisons.",
    )
    fail_fast: bool = Field(default=False, description="Stop at the first bad row.")
    replies: bool = Field(default=True, description="Keep the judge's texts in the output.")
    report: Path | None = report_field()
    ray: str | None = Field(default=None, description="Score on this Ray cluster: an address, or auto.")
    as_json: bool = Field(default=False, description="Print the summary as JSON.", json_schema_extra={"flags": ["--json"]})


def score(rows: DataSettings, settings: ScoreSettings, judging: JudgingSettings, job: JobSettings, address: JudgeAddress) -> None:
    """Judge a whole data set: pairs, groups, or single responses against a reference."""
    from reasrm.scoring import How, Job

    check_report(settings.report)
    how = How(judging.options, settings.method, settings.replies)
    with rows.data() as data:
        todo = Job(data, settings.output, how, restart=job.restart, fail_fast=settings.fail_fast)
        tally = run(todo, address, concurrency=job.concurrency, ray=settings.ray)
        show(tally, todo, as_json=settings.as_json)
        if settings.report is not None:
            from reasrm.report import write_report

            write_report(settings.report, tally, title=f"{Path(rows.source).name}, judged", data=data)
            tell(f"report: {settings.report}")


def check_report(path: Path | None) -> None:
    """Raise InputError now if the report could not be made later, before any token is spent."""
    if path is not None:
        from reasrm.report import check_installed

        check_installed()
        check_place("--report", path)


def check_place(option: str, path: Path | None) -> None:
    """Raise InputError if the file that `option` names could not be written."""
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        why = "is a folder; name a file in it" if path.is_dir() else f"there is no folder {path.parent} to write to"
        raise InputError(f"{option} {path}: {why}", field=option.lstrip("-"))


def run(job: Job, address: JudgeAddress, *, concurrency: int | None = None, ray: str | None = None) -> Tally:
    """Score on this machine or on a cluster, show the progress, and say how to resume after an interruption."""
    from reasrm.scoring import Limiter, score

    if job.journal.exists() and not job.restart:
        tell(f"going on from {job.journal}; --restart starts over")
    try:
        if ray is not None:
            from reasrm.scoring.cluster import score_on_ray

            return score_on_ray(job, address, ray, concurrency=concurrency, say=tell)
        say = None if sys.stderr.isatty() else tell
        return asyncio.run(score(job, address, limiter=Limiter(concurrency), say=say))
    except KeyboardInterrupt:
        if job.journal.exists():
            tell(f"finished rows are in {job.journal}; run the same command again to go on")
        raise


def show(tally: Tally, job: Job, *, as_json: bool) -> None:
    """The summary, for people or as JSON."""
    from reasrm.scoring.summary import as_data, summary

    if as_json:
        sys.stdout.write(terminal_json({"output": str(job.output)} | as_data(tally)) + "\n")
        return
    from rich.console import Console

    Console().print(summary(tally))
    tell(f"judgments: {job.output}")


def tell(line: str) -> None:
    """A line for people, on standard error."""
    sys.stderr.write(plain(line) + "\n")
    sys.stderr.flush()
