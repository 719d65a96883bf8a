"""`reasrm eval`: a benchmark judged, and scored as its authors score it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reasrm.commands.score import (
    ConcurrencyOption,
    EngineOption,
    MaxTokensOption,
    ModelOption,
    PromptsOption,
    RestartOption,
    SplitOption,
    TimeoutOption,
    TokenOption,
    UrlOption,
    check_report,
    told,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reasrm.benchmarks import Benchmark, Protocol
    from reasrm.results import Scored

WIDTH = 132  # of a table that goes into a file or a pipe
EPILOG = """Examples:

  reasrm eval rewardbench filtered.parquet --engine http://sglang:30000

  reasrm eval rm-bench RM-Bench/data --url http://judge:8900 --report rm-bench.html

  reasrm eval rmb RMB_dataset -o rmb.jsonl --protocol both-orders

  reasrm eval rmb --from rmb.jsonl --protocol rm-r1      (scores what was judged already)

BENCHMARK is one of rewardbench, rewardbench2, rm-bench, rmb, judgebench, ppe; PATH holds its published files."""


def evaluate(
    benchmark: Annotated[str, typer.Argument(help="rewardbench, rewardbench2, rm-bench, rmb, judgebench or ppe.")],
    path: Annotated[
        str | None, typer.Argument(help="Its published files: a file, a folder or a hub id.", show_default=False)
    ] = None,
    from_: Annotated[Path | None, typer.Option("--from", help="Score these judgments instead of judging.")] = None,
    protocol: Annotated[str | None, typer.Option(help="How it is judged and scored; each benchmark says which it has.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where the judgments go.")] = None,
    split: SplitOption = None,
    url: UrlOption = "http://127.0.0.1:8900",
    engine: EngineOption = None,
    prompts: PromptsOption = "rubric",
    model: ModelOption = None,
    token: TokenOption = None,
    max_tokens: MaxTokensOption = 8192,
    timeout: TimeoutOption = 600.0,
    concurrency: ConcurrencyOption = None,
    restart: RestartOption = False,
    report: Annotated[Path | None, typer.Option(help="Write a self-contained HTML report here.")] = None,
    ray: Annotated[str | None, typer.Option(help="Judge on this Ray cluster: an address, or auto.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
) -> None:
    """Judge a benchmark greedily and print its table, beside the published scores."""
    from reasrm.benchmarks import BENCHMARKS
    from reasrm.errors import InputError
    from reasrm.scoring import Address

    if benchmark not in BENCHMARKS:
        raise InputError(f"there is no benchmark {benchmark!r}; there are {', '.join(BENCHMARKS)}", field="benchmark")
    if (path is None) == (from_ is None):
        raise InputError("give PATH to judge, or --from JUDGMENTS to score; see reasrm eval --help")
    chosen = BENCHMARKS[benchmark]
    how = chosen.protocol(protocol)
    check_report(report)
    judged = from_ or output or Path(f"{benchmark}.judged.jsonl")
    if path is not None:
        address = Address(url, engine, prompts, token, model, timeout)
        _judge(chosen, how, path, judged, address, split, max_tokens, concurrency, ray, restart)
    _show(chosen, how, judged, path, split, report, as_json)


def _judge(
    benchmark: Benchmark, protocol: Protocol, path: str, output: Path, address: object, split: str | None, max_tokens: int,
    concurrency: int | None, ray: str | None, restart: bool,
) -> None:  # fmt: skip
    from typing import cast

    from reasrm.commands.score import options_of, run
    from reasrm.datasets import DataSet
    from reasrm.scoring import Address, How, Job

    options = options_of(protocol.reads == "one", 1, 0.0, max_tokens)
    data = DataSet(path, split=split, together=benchmark.schemas)
    run(Job(data, output, How(options), restart=restart), cast(Address, address), concurrency=concurrency, ray=ray)
    told(f"judgments: {output}")


def _show(
    benchmark: Benchmark, protocol: Protocol, judged: Path, path: str | None, split: str | None, report: Path | None, as_json: bool
) -> None:
    from reasrm.datasets import DataSet
    from reasrm.report import write_report
    from reasrm.report.benchmark import as_data, comparison, for_terminal, read_judgments
    from reasrm.scoring.tally import Tally

    tally = Tally()

    def counted() -> Iterable[Scored]:
        for row in read_judgments(judged):
            tally.add(row)
            yield row

    score = benchmark.score(counted(), protocol)
    if tally.errors:
        told(f"{tally.errors:,} rows could not be judged and count nowhere; the first: {tally.first_error}")
    shown = comparison(benchmark, protocol, score, " + ".join(Path(who.model).name for who in tally.judges) or judged.name)
    if as_json:
        sys.stdout.write(json.dumps(as_data(benchmark, protocol, score, tally), indent=2) + "\n")
    else:
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH).print(for_terminal(shown, score))
        if tally.no_verdicts:
            told(f"{tally.no_verdicts:,} of {tally.comparisons:,} comparisons had no verdict")
    if report is not None:
        data = DataSet(path, split=split, together=benchmark.schemas) if path else None
        write_report(report, tally, title=f"{benchmark.title}, judged", data=data, comparison=shown)
        told(f"report: {report}")
