"""`reasrm engines`: what engines can do."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from reasrm.messages import Frozen
from reasrm.wording import plain, terminal_json

if TYPE_CHECKING:
    from reasrm.engine import EngineInfo

EXAMPLES = """Examples:

  reasrm engines http://127.0.0.1:8080

  reasrm engines http://127.0.0.1:11434 --model qwen2.5:7b

  reasrm engines http://sglang:30000 http://vllm:8000 --json

Each engine gets three requests of a few tokens, and its pages are read."""


class EnginesSettings(Frozen):
    """The engines, and how to reach them."""

    urls: tuple[str, ...] = Field(description="The engines' addresses.", min_length=1, json_schema_extra={"argument": True})
    model: str | None = Field(default=None, description="Which of an engine's models to ask.")
    token: str | None = Field(
        default=None, repr=False, description="The engines' API key.", json_schema_extra={"variable": "REASRM_TOKEN"}
    )
    timeout_s: float = Field(default=120.0, gt=0, description="Seconds that the measuring of one engine may take.")
    ca_file: Path | None = Field(
        default=None,
        description="A PEM file of certificate authorities to trust, for https with a private certificate.",
        json_schema_extra={"variable": "SSL_CERT_FILE"},
    )
    as_json: bool = Field(default=False, description="Print JSON.", json_schema_extra={"flags": ["--json"]})


def engines(settings: EnginesSettings) -> None:
    """Show what engines can do: log-probabilities, begun replies, stop strings, slots and more."""
    from reasrm.engine.table import as_data

    infos = asyncio.run(_probed(settings))
    if settings.as_json:
        sys.stdout.write(terminal_json([{"engine": url} | as_data(info) for url, info in infos]) + "\n")
        return
    from rich.console import Console

    for url, info in infos:
        Console().print(_table(url, info))


async def _probed(settings: EnginesSettings) -> list[tuple[str, EngineInfo]]:
    from reasrm.address import shown_address
    from reasrm.engine import HttpEngine

    infos: list[tuple[str, EngineInfo]] = []
    for url in settings.urls:
        async with HttpEngine(url, model=settings.model, api_key=settings.token, ca_file=settings.ca_file, retries=0) as engine:
            infos.append((shown_address(url), await engine.probe(settings.timeout_s)))
    return infos


def _table(url: str, info: EngineInfo):
    from rich.table import Table

    from reasrm.engine.table import table_of

    table = Table(title=plain(url), title_justify="left")
    for column in ("ability", "here", "what follows"):
        table.add_column(column, overflow="fold")
    for row in table_of(info):
        table.add_row(*map(plain, row))
    return table
