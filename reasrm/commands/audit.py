"""`reasrm audit`: how far a judge can be believed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from reasrm.commands.score import (
    EngineOption,
    MapOption,
    MaxTokensOption,
    ModelOption,
    PromptsOption,
    SchemaOption,
    Source,
    SplitOption,
    TimeoutOption,
    TokenOption,
    UrlOption,
    check_place,
    options_of,
    told,
)

EPILOG = """Examples:

  reasrm audit rm-bench/ --engine http://sglang:30000 --sample 200

  reasrm audit pairs.jsonl --plot audit.svg -o audit.json

The sample is drawn by a hash of each row, so that it is the same every time."""


def audit(
    source: Source,
    sample: Annotated[int, typer.Option(help="How many rows to audit by.", min=1)] = 100,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the findings here, as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the findings here: .svg, .png or .pdf.")] = None,
    schema: SchemaOption = None,
    mapping: MapOption = None,
    split: SplitOption = None,
    url: UrlOption = "http://127.0.0.1:8900",
    engine: EngineOption = None,
    prompts: PromptsOption = "rubric",
    model: ModelOption = None,
    token: TokenOption = None,
    max_tokens: MaxTokensOption = 2048,
    timeout: TimeoutOption = 600.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Test a judge for reproducibility, consistency with itself and with labels, and over domains."""
    from reasrm.audit import as_data, table
    from reasrm.audit import plot as draw
    from reasrm.datasets import DataSet, mapping_of
    from reasrm.errors import InputError
    from reasrm.scoring import Address
    from reasrm.scoring.output import write_whole

    if plot is not None and plot.suffix not in (".svg", ".png", ".pdf"):
        raise InputError(f"{plot}: the plot ends in .svg, .png or .pdf", field="plot")
    check_place("--output", output)
    check_place("--plot", plot)
    data = DataSet(source, schema, mapping_of(mapping) if mapping else None, split)
    examples = sampled(data, sample)
    told(f"{len(examples)} rows of {source}")
    options = options_of(False, 1, 0.0, max_tokens)
    findings = asyncio.run(_audit(examples, options, Address(url, engine, prompts, token, model, timeout)))
    written = json.dumps(as_data(findings), indent=2) + "\n"
    if output is not None:
        write_whole(output, written)
    if plot is not None:
        draw(findings, plot)
        told(f"plot: {plot}")
    if as_json:
        sys.stdout.write(written)
    else:
        from rich.console import Console

        Console().print(table(findings))


def sampled(data: Any, size: int) -> list[Any]:
    """`size` examples, those whose rows hash lowest; bad rows are left out. Raises InputError where none is left."""
    import heapq

    from reasrm.errors import InputError

    ranked: list[tuple[bytes, int, Any]] = []
    for entry in data:
        if entry.example is not None:
            ranked.append(
                (hashlib.blake2b(f"{entry.file}\0{entry.number}".encode(), digest_size=8).digest(), entry.index, entry.example)
            )
            if len(ranked) >= 4 * size:
                ranked = heapq.nsmallest(size, ranked, key=lambda each: each[:2])
    if not ranked:
        raise InputError("no row of this data can be judged")
    return [example for _, _, example in heapq.nsmallest(size, ranked, key=lambda each: each[:2])]


async def _audit(examples: list[Any], options: Any, address: Any) -> Any:
    from reasrm.audit import audit as run
    from reasrm.audit.run import LOAD
    from reasrm.scoring import Limiter, connect

    async with connect(address, Limiter(LOAD)) as connected:
        return await run(examples, connected.judge, options, told=told)
