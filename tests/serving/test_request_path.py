"""The path of one request through the gateway: ARCHITECTURE.md describes twelve steps, each in the file that it names."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import reasrm_serving
from reasrm_serving.app import create_app
from reasrm_serving.settings import Settings

from tests.components import ROOT
from tests.serving.loops import ScriptedEngine

PACKAGE = Path(reasrm_serving.__file__).parent
MOST_FILES, MOST_STEPS = 14, 12
PAIR = {"question": "q", "a": "answer 2", "b": "answer 1"}


async def files_of_a_request(engine: ScriptedEngine, folder: Path) -> set[str]:
    """The gateway's files in which a function runs for one uncached judgment."""
    app = create_app(Settings(engine=(engine.url,), state_dir=folder, refresh_s=60.0))
    files: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            files.add(path.relative_to(PACKAGE).as_posix())

    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client,
    ):
        assert (await client.post("/v1/judge", json=PAIR)).status_code == 200
        while not (await client.get("/v1/models")).json()["data"][0]["engines"][0]["abilities"]["probed"]:
            await asyncio.sleep(0.01)  # what the gateway does in the background is no part of the request's path
        sys.setprofile(note)
        try:
            answer = await client.post("/v1/judge", json=PAIR | {"seed": 1})
        finally:
            sys.setprofile(None)
    assert answer.json()["cached"] is False
    return files


async def test_a_judgment_runs_few_files_and_architecture_names_them_all(engine: ScriptedEngine, tmp_path: Path) -> None:
    files = await files_of_a_request(engine, tmp_path)
    assert 5 < len(files) <= MOST_FILES, sorted(files)
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    life = text.partition("## A request's life")[2].partition("\n## ")[0]
    steps = re.findall(r"^\d+\. ", life, re.MULTILINE)
    assert 5 < len(steps) <= MOST_STEPS
    named = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)?\.py)`", life))
    assert files <= named, sorted(files - named)
