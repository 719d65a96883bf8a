"""`reasrm eval`: judges a benchmark and scores it as its authors do."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from reasrm.commands.score import check_report, run, tell
from reasrm.commands.settings import GreedySettings, JobSettings, report_field
from reasrm.errors import InputError
from reasrm.judge_address import JudgeAddress
from reasrm.messages import Frozen
from reasrm.types import Options
from reasrm.wording import terminal_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reasrm.benchmarks import Benchmark, Protocol
    from reasrm.results import Scored

WIDTH = 132  # columns of a table that goes into a file or a pipe
EXAMPLES = """Examples:

  reasrm eval rewardbench filtered.parquet --engine http://sglang:30000

  reasrm eval rm-bench RM-Bench/data --url http://judge:8900 --report rm-bench.html

  reasrm eval rmb RMB_dataset -o rmb.jsonl --protocol both-orders

  reasrm eval rmb --from rmb.jsonl --protocol rm-r1      (scores what was judged already)

BENCHMARK is one of rewardbench, rewardbench2, rm-bench, rmb, judgebench, ppe; PATH holds its published files."""


class BenchmarkSettings(Frozen):
    """The benchmark, and how it is judged and shown."""

    benchmark: str = Field(
        description="rewardbench, rewardbench2, rm-bench, rmb, judgebench or ppe.", json_schema_extra={"argument": True}
    )
    path: str | None = Field(
        default=None,
        description="The benchmark's published files: a file, a folder or a hub id.",
        json_schema_extra={"argument": True},
    )
    judgments: Path | None = Field(
        default=None, description="Score these judgments instead of judging.", json_schema_extra={"flags": ["--from"]}
    )
    protocol: str | None = Field(
        default=None, description="How pairs are judged and scored; the table names the protocols of its benchmark."
    )
    output: Path | None = Field(
        default=None,
        description="The file for the judgments.",
        json_schema_extra={"flags": ["-o", "--output"], "shown": "BENCHMARK.judged.jsonl"},
    )
    split: str | None = Field(default=None, description="The split of a data set that has several.")
    report: Path | None = report_field()
    ray: str | None = Field(default=None, description="Judge on this Ray cluster: an address, or auto.")
    as_json: bool = Field(default=False, description="Print the scores as JSON.", json_schema_extra={"flags": ["--json"]})


class LongReplies(GreedySettings):
    """Benchmarks hold questions that take a long solution."""

    max_tokens: int = Field(default=8192, ge=1, description="Longest reply in tokens.")

    @property
    def options(self) -> Options:
        """The official scorers count a reply without an answer as wrong, and an average by its sign: nothing is forced or split."""
        return Options(max_tokens=self.max_tokens, reasoning=self.reasoning, forced=False, split_band=0.0)


def evaluate(settings: BenchmarkSettings, judging: LongReplies, job: JobSettings, address: JudgeAddress) -> None:
    """Judge a benchmark greedily and print its table, beside the published scores."""
    from reasrm.benchmarks import BENCHMARKS
    from reasrm.datasets import DataSet
    from reasrm.scoring import How, Job

    if settings.benchmark not in BENCHMARKS:
        raise InputError(f"there is no benchmark {settings.benchmark!r}; there are {', '.join(BENCHMARKS)}", field="benchmark")
    if (settings.path is None) == (settings.judgments is None):
        raise InputError("give PATH to judge, or --from JUDGMENTS to score; see reasrm eval --help")
    benchmark = BENCHMARKS[settings.benchmark]
    protocol = benchmark.protocol(settings.protocol)
    check_report(settings.report)
    judged = settings.judgments or settings.output or Path(f"{settings.benchmark}.judged.jsonl")
    if settings.path is not None:
        options = judging.options.model_copy(update={"orders": "ab" if protocol.reads == "one" else "both"})
        data = DataSet(settings.path, split=settings.split, together=benchmark.schemas)
        if benchmark.apart:
            benchmark.check_apart(str(row.row.get(benchmark.apart) or row.file) for row in data if row.example)
        run(Job(data, judged, How(options), restart=job.restart), address, concurrency=job.concurrency, ray=settings.ray)
        tell(f"judgments: {judged}")
    _show(benchmark, protocol, judged, settings)


def _show(benchmark: Benchmark, protocol: Protocol, judged: Path, settings: BenchmarkSettings) -> None:
    from reasrm.datasets import DataSet
    from reasrm.report import write_report
    from reasrm.report.benchmark import as_data, comparison, for_terminal, read_judgments
    from reasrm.scoring.tally import Tally

    tally = Tally()

    def counted() -> Iterable[Scored]:
        for row in benchmark.checked(read_judgments(judged), protocol):
            tally.add(row)
            yield row

    score = benchmark.score(counted(), protocol)
    if tally.errors:
        tell(f"{tally.errors:,} rows could not be judged and are left out of the score; the first: {tally.first_error}")
    shown = comparison(benchmark, protocol, score, " + ".join(Path(who.model).name for who in tally.judges) or judged.name)
    if settings.as_json:
        sys.stdout.write(terminal_json(as_data(benchmark, protocol, score, tally)) + "\n")
    else:
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH).print(for_terminal(shown, score))
        if tally.no_verdicts:
            tell(f"{tally.no_verdicts:,} of {tally.comparisons:,} comparisons had no verdict")
    if settings.report is not None:
        data = DataSet(settings.path, split=settings.split, together=benchmark.schemas) if settings.path else None
        write_report(settings.report, tally, title=f"{benchmark.title}, judged", data=data, comparison=shown)
        tell(f"report: {settings.report}")
