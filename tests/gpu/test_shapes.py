"""The shape of a 7B model on a GPU: `make test WORKERS=0 T="-m gpu" SGLANG_VENV=...`, whose SGLang runs there."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.components import ROOT, SGLANG_VENV

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def figures() -> dict[str, dict[str, float]]:
    """The output of bench/shapes.py."""
    server = f"{SGLANG_VENV / 'bin' / 'python'} -m sglang.launch_server"
    command = [sys.executable, str(ROOT / "bench" / "shapes.py"), "--server", server]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, "its output is above"
    print(done.stdout)
    return json.loads(done.stdout.splitlines()[-1])


def test_sglang_samples_five_times_as_fast_as_transformers(figures: dict[str, dict[str, float]]):
    speed = figures["rollout_tokens_per_s"]
    assert speed["sglang"] >= 5 * speed["transformers"]


def test_memory_is_within_15_percent_of_the_plan(figures: dict[str, dict[str, float]]):
    assert figures["memory_vs_plan"].keys() == {"rlvr/transformers", "rlvr/sglang", "distill/lora", "distill/full"}
    for arm, share in figures["memory_vs_plan"].items():
        assert 0.85 <= share <= 1.15, arm
