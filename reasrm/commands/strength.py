"""`reasrm data strength`: how strongly each pair is preferred."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import Field

from reasrm.commands.output import check_free, counted, whole_file
from reasrm.commands.score import tell
from reasrm.commands.settings import DataSettings, GreedySettings, JobSettings
from reasrm.errors import InputError, Refused
from reasrm.judge_address import JudgeAddress
from reasrm.messages import Frozen

EXAMPLES = """Examples:

  reasrm data strength pairs.jsonl -o strength.jsonl --votes 8

  reasrm data strength pairs.jsonl -o strength.jsonl --engine http://small:30000 --engine http://large:30000

  reasrm data strength pairs.jsonl -o strength.jsonl --from judged-a.jsonl --from judged-b.jsonl

Strengths are in [-1, 1]: 1 wholly with the label, -1 wholly against it. The judgments are kept beside OUTPUT."""


class StrengthSettings(Frozen):
    """How strengths are measured, and the file for them."""

    output: Path = Field(description="The file to write (.jsonl).", json_schema_extra={"flags": ["-o", "--output"]})
    votes: int = Field(
        default=2, ge=2, description="Replies per pair, half of them in each order; 2 is one greedy reading of each."
    )
    judgments: tuple[Path, ...] = Field(
        default=(), description="Measure by these judgments instead of judging.", json_schema_extra={"flags": ["--from"]}
    )


class Judges(JudgeAddress):
    """One gateway, or one or more engines: several engines are several judges."""

    engine: tuple[str, ...] | None = Field(  # type: ignore[assignment]
        default=None, description="Judge by these engines directly, without a gateway; several are several judges."
    )

    @property
    def addresses(self) -> list[JudgeAddress]:
        """One address per judge."""
        fields = self.model_dump(exclude={"engine"})
        return [JudgeAddress(engine=engine, **fields) for engine in self.engine or (None,)]


def strength(rows: DataSettings, settings: StrengthSettings, judging: GreedySettings, job: JobSettings, judges: Judges) -> None:
    """Measure how strongly each pair is preferred, by votes in both orders or by several judges."""
    from reasrm.quality import strengths
    from reasrm.report.benchmark import read_judgments
    from reasrm.scoring import How, Job

    output = settings.output
    check_free(output, job.restart)
    if settings.votes % 2:
        raise InputError(f"--votes must be even, half in each order, not {settings.votes}", field="votes")
    judged = list(settings.judgments)
    if not judged:
        options = judging.options.model_copy(update={"temperature": float(settings.votes > 2)})
        with rows.data() as data:
            for number, address in enumerate(judges.addresses, 1):
                kept = output.with_name(f"{output.stem}.judge{number}.jsonl")
                _judge(Job(data, kept, How(options), restart=job.restart), address, settings.votes // 2, job.concurrency)
                judged.append(kept)
    measured = strengths([read_judgments(path) for path in judged])
    counts = Counter[str]()
    with whole_file(output) as file:
        for row in measured:
            counts[_kind(row.strength)] += 1
            file.write(row.model_dump_json() + "\n")
    sys.stdout.write(f"{output}: {counted(counts)}\n")


def _judge(job: Any, address: JudgeAddress, rounds: int, concurrency: int | None) -> None:
    """Judge every pair `rounds` times in both orders, unless an earlier run has done so."""
    from reasrm.quality import Repeated, kept_from
    from reasrm.report.benchmark import read_judgments
    from reasrm.results import JudgeIdentity
    from reasrm.scoring import Connected, Limiter, connect, score_with

    async def judge() -> None:
        limiter = Limiter(concurrency)
        async with connect(address, limiter) as connected:
            if job.output.exists() and not job.restart and not job.journal.exists():
                if kept_from(read_judgments(job.output), job.data, JudgeIdentity(**connected.identity), 2 * rounds):
                    tell(f"{job.output} holds these judgments already")
                    return
                raise Refused(f"{job.output} holds judgments of other rows or by another judge; replace it with --restart")
            repeated = Connected(Repeated(connected.judge, rounds), connected.identity | {"rounds": rounds})
            await score_with(job, repeated, limiter=limiter, say=None if sys.stderr.isatty() else tell)

    asyncio.run(judge())


def _kind(measured: float | None) -> str:
    if measured is None:
        return "not measured"
    return "against the label" if measured < 0 else "undecided" if measured == 0 else "with the label"
