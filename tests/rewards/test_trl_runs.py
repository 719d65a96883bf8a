"""TRL's own trainer, run for a few steps with the judge as its reward: one process, and two whose groups straddle them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from reasrm_serving.app import create_app
from reasrm_serving.settings import Settings

from tests.components import ROOT, Sglang, free_port
from tests.serving.loops import ScriptedEngine, gateway, serving
from tests.serving.traffic import finished

pytestmark = pytest.mark.timeout(400)  # seconds on an idle machine; minutes on a busy one
RUN = Path(__file__).parent / "trl_run.py"


def train(
    folder: Path, model: Path, url: str, *, per_rank: int, generations: int, steps: int, ranks: int = 1
) -> list[dict[str, Any]]:
    """Run it; returns TRL's log."""
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"answer {i} please"}) + "\n" for i in range(8)))
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'serving'}", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    arguments = [str(RUN), str(model), url, str(folder / "out"), str(prompts), str(per_rank), str(generations), str(steps)]
    launcher = [sys.executable]
    if ranks > 1:
        launcher += ["-m", "torch.distributed.run", f"--nproc_per_node={ranks}", f"--master_port={free_port()}"]
    done = subprocess.run([*launcher, *arguments], env=environment, capture_output=True, text=True, timeout=380)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "out" / "log.json").read_text())


def test_a_grpo_run_is_rewarded_by_the_judge_and_its_win_rate_measured(
    engine: ScriptedEngine, tiny_model: Path, tmp_path: Path
) -> None:
    with gateway(engine, tmp_path) as url:
        log = train(tmp_path, tiny_model, url, per_rank=4, generations=4, steps=2)
    steps = [entry for entry in log if "reward" in entry]
    assert len(steps) == 2
    assert all(entry["judge/no_verdict"] == 0.0 for entry in steps)
    assert any(entry["reward_std"] > 0.01 for entry in steps)
    assert any("win_rate/no_verdict" in entry for entry in log)
    examples = (tmp_path / "out" / "win_rate" / "step-2.jsonl").read_text().splitlines()
    assert set(json.loads(examples[0])) == {"prompt", "completion", "reference", "winner"}
    assert engine.calls > 8


def test_groups_that_straddle_two_ranks_get_their_rewards(engine: ScriptedEngine, tiny_model: Path, tmp_path: Path) -> None:
    with gateway(engine, tmp_path) as url:
        log = train(tmp_path, tiny_model, url, per_rank=2, generations=4, steps=2, ranks=2)  # each group lies half on each rank
    steps = [entry for entry in log if "reward" in entry]
    assert len(steps) == 2
    assert all(entry["judge/no_verdict"] == 0.0 for entry in steps)
    assert any(entry["reward_std"] > 0.01 for entry in steps)
    assert all(entry["judge/seconds"] > 0 and entry["judge/completion_tokens"] > 0 for entry in steps)
    assert any(entry["judge/comparisons"] > 1 for entry in steps), "whole groups were compared, not each rank's half of them"


@pytest.mark.parametrize("ranks", [1, 2], ids=["one rank", "two ranks"])
def test_a_grpo_run_is_rewarded_by_a_judge_on_real_sglang(sglang: Sglang, tiny_model: Path, tmp_path: Path, ranks: int) -> None:
    settings = Settings.of(engine=sglang.url, prompts="world", state_dir=tmp_path, timeout_s=60.0)
    before = finished(sglang)
    with serving(create_app(settings)) as url:
        log = train(tmp_path, tiny_model, url, per_rank=4 // ranks, generations=4, steps=2, ranks=ranks)
    steps = [entry for entry in log if "judge/no_verdict" in entry]
    assert len(steps) == 2
    assert finished(sglang) - before >= 2 * 6, "each step's group was compared"
    assert not any(reason.endswith(("gateway", "engine_failed", "deadline")) for entry in steps for reason in entry)
    assert any(entry["judge/no_verdict"] < 1.0 and entry["reward_std"] > 0 for entry in steps), "it was judged"
