"""Every block of the documents runs: each page from top to bottom, in its own folder, against a real gateway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.components import ROOT, Gateway
from tests.documents import RUN, Block, at, blocks_of, differences, documents, shown_in

RUNNER = """
import ast, asyncio, inspect, sys
code = compile(sys.stdin.read(), sys.argv[1], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
outcome = eval(code, {"__name__": "__main__"})
if inspect.iscoroutine(outcome):
    asyncio.run(outcome)
"""
PAGES = [page for page in documents() if any(block.language in RUN for block in blocks_of(page))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_a_page_runs_and_prints_what_the_page_shows(page: Path, gateway: Gateway, tmp_path: Path) -> None:
    """A file appears where the page shows it; a block of text or JSON right after a block that ran is the output of that block."""
    printed: str | None = None
    for block in blocks_of(page):
        if block.title:
            file = tmp_path / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(at(block.text, gateway.url))
        elif block.language in RUN:
            printed = run(block, gateway.url, tmp_path)
            assert printed or block.language == "bash", f"{block.name}: the block before a result must run"
            continue
        elif printed is not None and block.language == "text":
            assert shown_in(at(block.text, gateway.url), printed), f"{block.name}: what is printed is\n{printed}"
        elif printed is not None and block.language == "json":
            assert not differences(json.loads(block.text), json.loads(printed)), f"{block.name}: what is printed is\n{printed}"
        printed = None


def run(block: Block, url: str, folder: Path) -> str:
    """Run a block in `folder` and return its output; fail with its message where it fails."""
    text = at(block.text, url)
    command = ["bash", "-euo", "pipefail", "-c", text] if block.language == "bash" else [sys.executable, "-c", RUNNER, block.name]
    here = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "REASRM_URL": url, "COLUMNS": "100"}
    done = subprocess.run(
        command,
        input=None if block.language == "bash" else text,
        capture_output=True,
        text=True,
        cwd=folder,
        env=here,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, f"{block.name}:\n{done.stdout}{done.stderr}"
    return done.stdout
