"""The commands' first words, and `reasrm score -`, which reads standard input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.loops import engine, url

__all__ = ["engine", "url"]  # fixtures for every test here
REASRM = Path(sys.executable).parent / "reasrm"


def test_rows_from_standard_input_are_scored_by_a_gateway(url: str, tmp_path: Path) -> None:
    rows = [
        {"id": str(number), "question": f"q {number}", "a": f"answer {number % 3}", "b": "answer 1.5", "winner": "A"}
        for number in range(12)
    ]
    output = tmp_path / "judged.jsonl"
    command = [str(REASRM), "score", "-", "-o", str(output), "--url", url, "--json"]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    judged = {row["id"]: row for row in map(json.loads, output.read_text().splitlines())}
    winners = {number: row["winner"] for number, row in judged.items()}
    assert winners == {str(number): "A" if number % 3 == 2 else "B" for number in range(12)}
    assert json.loads(done.stdout)


@pytest.mark.parametrize(
    ("command", "first_line"),
    [
        (("serve", "--port", "0"), "reasrm: starting the gateway ..."),
        (("serve", "--port", "0", "--engine", "http://127.0.0.1:9"), "reasrm: starting the gateway ..."),
        (("train", "run", "tiny"), "loading torch and transformers ..."),
    ],
    ids=("embedded judge", "engine", "training"),
)
def test_a_command_that_loads_for_long_says_so_before_it_loads(command: tuple[str, ...], first_line: str, tmp_path: Path) -> None:
    """Libraries write how long each takes to load to standard error, so the line must stand before the heavy ones."""
    environ = os.environ | {"PYTHONPROFILEIMPORTTIME": "1", "COLUMNS": "132"}
    read: list[str] = []
    with subprocess.Popen([REASRM, *command], stderr=subprocess.PIPE, text=True, env=environ, cwd=tmp_path) as process:
        assert process.stderr is not None
        for line in process.stderr:
            read.append(line.strip())
            if not line.startswith("import time:"):
                break
        process.kill()
    assert read[-1] == first_line
    imported = {line.rpartition("|")[2].strip() for line in read}
    assert not {"torch", "transformers", "uvicorn"} & imported
