"""`reasrm score`: a data set in, a file of judgments out."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from reasrm.scoring import Address, Job, Tally

EPILOG = """Examples:

  reasrm score pairs.jsonl -o judged.jsonl

  reasrm score Skywork.parquet -o judged.parquet --engine http://sglang:30000 --prompts rubric --report report.html

  reasrm score my.csv -o judged.jsonl --map prompt=text,chosen=good,rejected=bad

  reasrm score rmb/BoN_set -o judged.jsonl --one-order --url http://judge:8900

  reasrm score huge/ -o judged.parquet --ray auto

INPUT is a file (.jsonl .json .csv .tsv .parquet .arrow, each also with .gz or .zst), a folder of them, a data set saved by
datasets, or a hub id. Finished rows are kept in OUTPUT.journal: the same command goes on where a run stopped."""

Source = Annotated[str, typer.Argument(help="What to score.", show_default=False)]
SchemaOption = Annotated[str | None, typer.Option(help="The schema, where the columns leave a choice.")]
MapOption = Annotated[str | None, typer.Option("--map", help="Columns by the names that schemas know: chosen=good,rejected=bad.")]
SplitOption = Annotated[str | None, typer.Option(help="The split of a data set that has several.")]
UrlOption = Annotated[str, typer.Option(help="The gateway.", envvar="REASRM_URL")]
EngineOption = Annotated[str | None, typer.Option(help="Judge by this engine directly, without a gateway: an http(s) address.")]
PromptsOption = Annotated[str, typer.Option(help="With --engine: the prompt pack, a name or a folder.")]
ModelOption = Annotated[str | None, typer.Option(help="With --engine: which of its models.")]
TokenOption = Annotated[str | None, typer.Option(help="The gateway's or the engine's API key.", envvar="REASRM_TOKEN")]
OneOrderOption = Annotated[
    bool, typer.Option("--one-order", help="Read each pair once, in an order drawn for it, not both ways round.")
]
VotesOption = Annotated[int, typer.Option(help="Sample up to this many replies and take the majority.", min=1, max=64)]
TemperatureOption = Annotated[float | None, typer.Option(help="0 is greedy; the default is 0, or 1 with --votes.", min=0, max=2)]
MaxTokensOption = Annotated[int, typer.Option(help="Longest reply in tokens.", min=1)]
TimeoutOption = Annotated[float, typer.Option(help="Seconds to wait for one reply.", min=0.1)]
ConcurrencyOption = Annotated[
    int | None, typer.Option(help="Requests in flight; by default as many as the engine takes.", min=1, max=1024)
]
RestartOption = Annotated[bool, typer.Option("--restart", help="Start over: forget what was done, replace the output.")]


def score(
    source: Source,
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to: .jsonl or .parquet.", show_default=False)],
    schema: SchemaOption = None,
    mapping: MapOption = None,
    split: SplitOption = None,
    url: UrlOption = "http://127.0.0.1:8900",
    engine: EngineOption = None,
    prompts: PromptsOption = "rubric",
    model: ModelOption = None,
    token: TokenOption = None,
    one_order: OneOrderOption = False,
    votes: VotesOption = 1,
    temperature: TemperatureOption = None,
    max_tokens: MaxTokensOption = 2048,
    seed: Annotated[int, typer.Option(help="Of sampled replies.", min=0)] = 0,
    method: Annotated[str, typer.Option(help="How groups are ranked whose rows name no comparisons.")] = "swiss",
    timeout: TimeoutOption = 600.0,
    concurrency: ConcurrencyOption = None,
    restart: RestartOption = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first bad row.")] = False,
    replies: Annotated[bool, typer.Option("--replies/--no-replies", help="Keep the judge's texts in the output.")] = True,
    report: Annotated[Path | None, typer.Option(help="Write a self-contained HTML report here.")] = None,
    ray: Annotated[str | None, typer.Option(help="Score on this Ray cluster: an address, or auto.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Judge a whole data set: pairs, groups, or single responses against a reference."""
    from reasrm.datasets import DataSet, mapping_of
    from reasrm.scoring import Address, How, Job

    check_report(report)
    options = options_of(one_order, votes, temperature, max_tokens, seed)
    data = DataSet(source, schema, mapping_of(mapping) if mapping else None, split)
    job = Job(data, output, How(options, method, replies), restart=restart, fail_fast=fail_fast)
    address = Address(url, engine, prompts, token, model, timeout)
    tally = run(job, address, concurrency=concurrency, ray=ray)
    show(tally, job, as_json=as_json)
    if report is not None:
        from reasrm.report import write_report

        write_report(report, tally, title=f"{Path(source).name}, judged", data=data)
        told(f"report: {report}")


def check_report(path: Path | None) -> None:
    """Raises InputError where a report that is asked for could not be made: known before any token is spent."""
    if path is not None:
        from reasrm.report import check_installed

        check_installed()
        check_place("--report", path)


def check_place(option: str, path: Path | None) -> None:
    """Raises InputError where the file that `option` names could not be written."""
    from reasrm.errors import InputError

    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        why = "is a folder; name a file in it" if path.is_dir() else f"there is no folder {path.parent} to write to"
        raise InputError(f"{option} {path}: {why}", field=option.lstrip("-"))


def options_of(one_order: bool, votes: int, temperature: float | None, max_tokens: int, seed: int = 0) -> Any:
    """The `Options` that the flags mean. Raises InputError."""
    from reasrm.client import checked
    from reasrm.types import Options

    heat = temperature if temperature is not None else float(votes > 1)
    orders = "ab" if one_order else "both"
    return checked(Options, orders=orders, votes=votes, temperature=heat, max_tokens=max_tokens, seed=seed)


def run(job: Job, address: Address, *, concurrency: int | None = None, ray: str | None = None) -> Tally:
    """Score, here or on a cluster, and tell people how it goes."""
    from reasrm.scoring import Limiter, score

    if ray is not None:
        from reasrm.scoring.cluster import score_on_ray

        return score_on_ray(job, address, ray, concurrency=concurrency, say=told)
    limiter = Limiter(concurrency)
    say = None if sys.stderr.isatty() else told
    return asyncio.run(score(job, address, limiter=limiter, say=say))


def show(tally: Tally, job: Job, *, as_json: bool) -> None:
    """The summary, for people or as JSON."""
    from reasrm.scoring.summary import as_data, summary

    if as_json:
        sys.stdout.write(json.dumps({"output": str(job.output)} | as_data(tally), ensure_ascii=False, indent=2) + "\n")
        return
    from rich.console import Console

    Console().print(summary(tally))
    told(f"judgments: {job.output}")


def told(line: str) -> None:
    """A line for people, on standard error."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
