"""The repository holds no paths of a developer's machine, no files too long to read in one sitting, and no secrets."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.components import ROOT

# written so that this file does not match itself
MACHINE_PATH = re.compile(
    r"(?<![\w.])/(?:work/(?:main|shared|steering|\.)|root/[\w.]|home/(?!reasrm|user)\w|Users/\w|farm/|tmp/bash)"
)
SECRET = re.compile(
    r"(?:sk-[A-Za-z0-9]{20,}|hf_[A-Za-z0-9]{20,}|ghp_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY)"
)
MAX_LINES, MAX_BYTES = 400, 13 * 2**20


def files() -> list[Path]:
    """Every file that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout: there is no list of the files that belong to it")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def texts() -> list[tuple[Path, str]]:
    return [(file, file.read_bytes().decode()) for file in files() if b"\0" not in file.read_bytes()[:4096]]


@pytest.mark.parametrize("pattern", [MACHINE_PATH, SECRET], ids=["machine path", "secret"])
def test_no_file_holds_a_forbidden_text(pattern: re.Pattern[str]) -> None:
    own = Path(__file__)
    places = [
        f"{file.relative_to(ROOT)}: {match.group()}" for file, text in texts() if file != own and (match := pattern.search(text))
    ]
    assert not places


def test_every_python_file_can_be_read_in_one_sitting() -> None:
    long = {str(file.relative_to(ROOT)): len(text.splitlines()) for file, text in texts() if file.suffix == ".py"}
    assert not {name: lines for name, lines in long.items() if lines > MAX_LINES}


def test_no_file_is_large_and_none_is_a_pickle() -> None:
    listed = files()
    assert not [file for file in listed if file.stat().st_size > MAX_BYTES]
    assert not [file for file in listed if file.suffix in {".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt"}]
