"""The judge that comes with the package: `make demo` shows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from reasrm_serving.demo import PAIRS

pytestmark = pytest.mark.timeout(300)
DEMO = json.loads(PAIRS.read_text())
FAMILIES = {pair["family"] for pair in DEMO}


def test_the_demo_judges_pairs_of_every_family_in_an_empty_home(tmp_path: Path) -> None:
    env = os.environ | {"HOME": str(tmp_path), "COLUMNS": "160"}
    shown = subprocess.run([sys.executable, "-m", "reasrm_serving.demo"], capture_output=True, text=True, env=env, check=False)
    assert shown.returncode == 0, shown.stderr
    for family in FAMILIES:
        assert family in shown.stdout
    assert shown.stdout.count("as a program computed") == len(DEMO)
    assert shown.stdout.count("right: ") > 0.8 * len(DEMO)
    assert "evaluation" in shown.stdout
    assert "outside_domain" in shown.stdout
    assert ", cached" in shown.stdout


def test_neither_the_demo_nor_the_gateway_imports_torch(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = None  # as if they were not installed
from reasrm_serving.demo import main
main()
"""
    env = os.environ | {"HOME": str(tmp_path)}
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert shown.returncode == 0, shown.stderr
