"""`reasrm data strength` and `reasrm data clean`: how strongly each pair is preferred, and what is done about it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from reasrm.commands.score import (
    ConcurrencyOption,
    MapOption,
    MaxTokensOption,
    PromptsOption,
    RestartOption,
    SchemaOption,
    Source,
    SplitOption,
    TimeoutOption,
    TokenOption,
    UrlOption,
    options_of,
    told,
)

STRENGTH_EPILOG = """Examples:

  reasrm data strength pairs.jsonl -o strength.jsonl --votes 8

  reasrm data strength pairs.jsonl -o strength.jsonl --engine http://small:30000 --engine http://large:30000

  reasrm data strength pairs.jsonl -o strength.jsonl --from judged-a.jsonl --from judged-b.jsonl

Strengths are in [-1, 1]: 1 wholly with the label, -1 wholly against it. The judgments are kept beside OUTPUT."""

CLEAN_EPILOG = """Examples:

  reasrm data clean pairs.jsonl -o clean.jsonl --against rewardbench.parquet

  reasrm data clean pairs.jsonl -o clean.jsonl --strength strength.jsonl --flip-below -0.6 --drop-below 0.1

  reasrm data clean pairs.jsonl -o clean.jsonl --strength strength.jsonl --smooth 0.2 --margin

OUTPUT holds prompt, chosen, rejected as TRL reads them; what was done to each row stands in OUTPUT.actions.jsonl."""


def strength(
    source: Source,
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to (.jsonl).", show_default=False)],
    votes: Annotated[
        int, typer.Option(help="Replies a pair, half of them in each order; 2 is one greedy reading of each.", min=2)
    ] = 2,
    url: UrlOption = "http://127.0.0.1:8900",
    engine: Annotated[list[str] | None, typer.Option(help="Judge by these engines directly; several are several judges.")] = None,
    from_: Annotated[list[Path] | None, typer.Option("--from", help="Measure by these judgments instead of judging.")] = None,
    prompts: PromptsOption = "rubric",
    token: TokenOption = None,
    schema: SchemaOption = None,
    mapping: MapOption = None,
    split: SplitOption = None,
    max_tokens: MaxTokensOption = 2048,
    timeout: TimeoutOption = 600.0,
    concurrency: ConcurrencyOption = None,
    restart: RestartOption = False,
) -> None:
    """Measure how strongly each pair is preferred, by votes in both orders or by several judges."""
    from reasrm.datasets import DataSet, mapping_of
    from reasrm.errors import InputError
    from reasrm.quality import strengths
    from reasrm.report.benchmark import read_judgments
    from reasrm.scoring import Address, How, Job

    _check_free(output, restart)
    if votes % 2:
        raise InputError(f"--votes is even, half in each order, not {votes}", field="votes")
    judged = list(from_ or ())
    if not judged:
        options = options_of(False, 1, float(votes > 2), max_tokens)
        data = DataSet(source, schema, mapping_of(mapping) if mapping else None, split)
        for number, at in enumerate(engine or [None], 1):
            kept = output.with_name(f"{output.stem}.judge{number}.jsonl")
            address = Address(url, at, prompts, token, None, timeout)
            _judge(Job(data, kept, How(options), restart=restart), address, votes // 2, concurrency)
            judged.append(kept)
    measured = strengths([read_judgments(path) for path in judged])
    counts = Counter[str]()
    with _whole(output) as file:
        for row in measured:
            counts[_kind(row.strength)] += 1
            file.write(row.model_dump_json() + "\n")
    sys.stdout.write(f"{output}: {_counted(counts)}\n")


def _judge(job: Any, address: Any, rounds: int, concurrency: int | None) -> None:
    """Score with every pair read `rounds` times in both orders, unless an earlier run has done so."""
    from reasrm.errors import Refused
    from reasrm.quality import Repeated, kept_from
    from reasrm.report.benchmark import read_judgments
    from reasrm.results import JudgeIdentity
    from reasrm.scoring import Connected, Limiter, connect, score_with

    async def judge() -> None:
        limiter = Limiter(concurrency)
        async with connect(address, limiter) as connected:
            if job.output.exists() and not job.restart and not job.journal.exists():
                if kept_from(read_judgments(job.output), job.data, JudgeIdentity(**connected.identity), 2 * rounds):
                    told(f"{job.output} holds these judgments already")
                    return
                raise Refused(f"{job.output} holds judgments of other rows or by another judge; replace it with --restart")
            repeated = Connected(Repeated(connected.judge, rounds), connected.identity | {"rounds": rounds})
            await score_with(job, repeated, limiter=limiter, say=None if sys.stderr.isatty() else told)

    asyncio.run(judge())


def _kind(measured: float | None) -> str:
    if measured is None:
        return "not measured"
    return "against the label" if measured < 0 else "undecided" if measured == 0 else "with the label"


def clean(
    source: Source,
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to (.jsonl).", show_default=False)],
    strength: Annotated[Path | None, typer.Option(help="Strengths of `reasrm data strength` over the same input.")] = None,
    flip_below: Annotated[float | None, typer.Option(help="Turn labels of less strength round.", min=-1, max=1)] = None,
    drop_below: Annotated[float | None, typer.Option(help="Drop what then has less strength.", min=-1, max=1)] = None,
    smooth: Annotated[
        float | None, typer.Option(help="Add chosen_probability by strength, at most this far from 1.", min=0, max=1)
    ] = None,
    margin: Annotated[bool, typer.Option("--margin", help="Add the strength as margin.")] = False,
    near: Annotated[float, typer.Option(help="Similarity from which rows are one; 1 leaves only exact ones.", min=0, max=1)] = 0.8,
    against: Annotated[list[str] | None, typer.Option(help="Benchmarks or splits whose questions no row may ask.")] = None,
    schema: SchemaOption = None,
    mapping: MapOption = None,
    split: SplitOption = None,
    restart: RestartOption = False,
) -> None:
    """Flip, drop or soften labels by their strength, and drop duplicates and contamination."""
    from reasrm.datasets import DataSet, mapping_of, read_examples
    from reasrm.errors import InputError
    from reasrm.quality import Rules
    from reasrm.quality import clean as cleaned

    _check_free(output, restart)
    if strength is None and (flip_below is not None or drop_below is not None or smooth is not None or margin):
        raise InputError("these rules go by strengths: give --strength FILE, made by reasrm data strength", field="strength")
    rules = Rules(flip_below, drop_below, smooth, margin, near if 0 < near < 1 else None)
    examples = [example for path in against or () for example in read_examples(path)]
    data = DataSet(source, schema, mapping_of(mapping) if mapping else None, split)
    measured = _strengths(strength) if strength else None
    counts = Counter[str]()
    actions = output.with_name(output.name + ".actions.jsonl")
    with _whole(output) as file, _whole(actions) as log:
        for action, row in cleaned(_checked(data, measured), rules, measured, examples):
            counts[f"dropped ({action.reason.partition(':')[0].partition(' of ')[0]})" if row is None else action.action] += 1
            log.write(action.model_dump_json() + "\n")
            if row is not None:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    sys.stdout.write(f"{output}: {_counted(counts)}\n")
    told(f"row by row: {actions}")


def _check_free(path: Path, replace: bool) -> None:
    from reasrm.errors import InputError, Refused

    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: there is no such folder to write to", field="output")
    if path.exists() and not replace:
        raise Refused(f"{path} exists; give another name, or replace it with --restart")


@contextmanager
def _whole(path: Path) -> Generator[TextIO]:
    """A text file that is put in place when all of it is written."""
    from reasrm.scoring.output import whole

    with whole(path) as partial, partial.open("w", encoding="utf-8") as file:
        yield file


def _strengths(path: Path) -> dict[int, Any]:
    from pydantic import ValidationError

    from reasrm.errors import InputError
    from reasrm.quality import Strength

    found: dict[int, Strength] = {}
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                row = Strength.model_validate_json(line)
            except ValidationError:
                raise InputError(f"{path}, row {number}: no row of reasrm data strength", field="strength") from None
            found[row.index] = row
    return found


def _checked(entries: Iterable[Any], measured: dict[int, Any] | None) -> Iterable[Any]:
    """The entries, each seen to be the one that was measured."""
    from reasrm.errors import InputError

    for entry in entries:
        known = measured.get(entry.index) if measured is not None else None
        if measured is not None and (known is None or known.id != entry.id):
            raise InputError(f"{entry.where}: the strengths are of other rows; measure this input again", field="strength")
        yield entry


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.most_common()) or "no rows"
