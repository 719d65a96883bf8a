"""`reasrm audit`: how far a judge can be believed."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path
from typing import Any

from pydantic import Field

from reasrm.commands.score import check_place, tell
from reasrm.commands.settings import DataSettings, GreedySettings
from reasrm.errors import InputError
from reasrm.judge_address import JudgeAddress
from reasrm.messages import Frozen
from reasrm.types import Options
from reasrm.wording import terminal_json

EXAMPLES = """Examples:

  reasrm audit rm-bench/ --engine http://sglang:30000 --sample 200

  reasrm audit pairs.jsonl --plot audit.svg -o audit.json

The sample is drawn by a hash of each row, so that it is the same every time."""


class AuditSettings(Frozen):
    """The size of the audit, and the files for its findings."""

    sample: int = Field(default=100, ge=1, description="How many rows to audit.")
    output: Path | None = Field(
        default=None, description="Write the findings to this file, as JSON.", json_schema_extra={"flags": ["-o", "--output"]}
    )
    plot: Path | None = Field(default=None, description="Draw the findings into this file: .svg, .png or .pdf.")
    as_json: bool = Field(default=False, description="Print the findings as JSON.", json_schema_extra={"flags": ["--json"]})


def audit(rows: DataSettings, settings: AuditSettings, judging: GreedySettings, address: JudgeAddress) -> None:
    """Test a judge for reproducibility, consistency with itself and with labels, and over domains."""
    from reasrm.audit import as_data, table
    from reasrm.audit import plot as draw
    from reasrm.scoring.output import write_whole

    if settings.plot is not None and settings.plot.suffix not in (".svg", ".png", ".pdf"):
        raise InputError(f"--plot {settings.plot}: the name must end in .svg, .png or .pdf", field="plot")
    check_place("--output", settings.output)
    check_place("--plot", settings.plot)
    with rows.data() as data:
        examples = sampled(data, settings.sample)
        notes = data.notes
    for note in (f"{len(examples)} rows of {rows.source}", *notes):
        tell(note)
    findings = asyncio.run(_audit(examples, judging.options, address))
    written = terminal_json(as_data(findings)) + "\n"
    if settings.output is not None:
        write_whole(settings.output, written)
    if settings.plot is not None:
        draw(findings, settings.plot)
        tell(f"plot: {settings.plot}")
    if settings.as_json:
        sys.stdout.write(written)
    else:
        from rich.console import Console

        Console().print(table(findings))


def sampled(data: Any, size: int) -> list[Any]:
    """`size` examples, those whose rows hash lowest; bad rows are left out. Raises InputError where none is left."""
    import heapq

    ranked: list[tuple[bytes, int, Any]] = []
    for entry in data:
        if entry.example is not None:
            place = hashlib.blake2b(f"{entry.file}\0{entry.number}".encode(), digest_size=8).digest()
            ranked.append((place, entry.index, entry.example))
            if len(ranked) >= 4 * size:
                ranked = heapq.nsmallest(size, ranked, key=lambda item: item[:2])
    if not ranked:
        raise InputError("no row of this data can be judged")
    return [example for _, _, example in heapq.nsmallest(size, ranked, key=lambda item: item[:2])]


async def _audit(examples: list[Any], options: Options, address: JudgeAddress) -> Any:
    from reasrm.audit import audit as run
    from reasrm.audit.run import LOAD
    from reasrm.scoring import Limiter, connect

    async with connect(address, Limiter(LOAD)) as connected:
        return await run(examples, connected.judge, options, report=tell)
