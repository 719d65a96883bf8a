"""`make demo MODEL=FILE.gguf`: a real model, started by the gateway, judges real questions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from reasrm_serving.demo import QUESTIONS

from tests.components import smollm2

pytestmark = pytest.mark.timeout(600)  # seven judgments by a real model


def test_the_demo_asks_a_real_model_real_questions_and_says_how_long_that_takes(tmp_path: Path) -> None:
    model = smollm2()
    env = os.environ | {"HOME": str(tmp_path), "COLUMNS": "160"}
    argv = [sys.executable, "-m", "reasrm_serving.demo", str(model)]
    shown = subprocess.run(argv, capture_output=True, text=True, env=env, check=False)
    assert shown.returncode == 0, shown.stderr
    questions = [question for question in json.loads(QUESTIONS.read_text()) if "better" in question]
    assert "the judge, SmolLM2-135M-Instruct" in shown.stdout
    assert f"s; the other {len(questions) - 1} take about" in shown.stdout
    for question in questions:
        assert question["why"] in shown.stdout
    assert "made for these tasks" not in shown.stdout
    assert ", cached" in shown.stdout
