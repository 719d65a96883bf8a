"""A whole run: killed at any point and started again, it ends like an unbroken one; two processes train one model."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from reasrm_training.config.recipes import load_recipe
from reasrm_training.loop.checkpoints import COMPLETE
from reasrm_training.model import libraries
from reasrm_training.model.loading import weights_digest
from reasrm_training.run.pipeline import run
from reasrm_training.run.progress import Display
from rich.console import Console
from safetensors.torch import load_file

from reasrm.errors import RecipeError, Refused
from tests.components import ROOT
from tests.training.mini_runs import TWO_PROCESSES, Mini, command, do, environment

# Runs are forked from a process with the slow imports done.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["reasrm_training.run.pipeline", "trl.trainer.sft_trainer", "trl.trainer.grpo_trainer"])


def train(file: Path) -> None:
    do(load_recipe(file))


def kill_when(file: Path, appeared: Path) -> None:
    """Start the run in a process of its own and kill it, with no time to tidy up, as soon as `appeared` is there."""
    process = PROCESSES.Process(target=train, args=(file,))
    process.start()
    while not appeared.exists():
        assert process.is_alive(), f"the run ended, with {process.exitcode}, before {appeared} was there"
        time.sleep(0.01)
    process.kill()
    process.join()


def results(folder: Path) -> dict[str, str]:
    state = json.loads((folder / "state.json").read_text())
    return {stage: entry.get("result", "").replace(str(folder), "") for stage, entry in state.items()}


@pytest.mark.timeout(600)
def test_a_run_that_is_killed_in_every_stage_ends_like_an_unbroken_one(mini: Mini, tmp_path: Path):
    whole = do(load_recipe(mini("whole")))
    broken, file = tmp_path / "broken", mini("broken")
    kill_when(file, broken / "distill" / "checkpoints" / "checkpoint-4" / COMPLETE)
    assert results(broken)["distill"] == ""
    kill_when(file, broken / "rlvr" / "checkpoints" / "checkpoint-2" / COMPLETE)
    assert results(broken)["distill"] == results(whole)["distill"]
    assert results(broken)["rlvr"] == ""
    kill_when(file, broken / "evaluate" / "distill.json")
    done = subprocess.run(command(file), capture_output=True, text=True, env=environment(), cwd=ROOT, check=True)
    assert done.stdout.strip() == str(broken)
    assert results(broken) == results(whole)
    for name in (
        "evaluate/table.md",
        "evaluate/rlvr.json",
        "evaluate/rlvr-replies.jsonl",
        "distill/metrics.jsonl",
        "distill/judgments.jsonl",
        "rlvr/judgments.jsonl",
        "rlvr/samples.jsonl",
    ):
        assert (broken / name).read_text() == (whole / name).read_text(), name
    assert weights_digest(broken / "export") == weights_digest(whole / "export")
    report = (broken / "report.html").read_text()
    assert "SFT, step 8" in report
    assert "RL, step 4" in report
    assert {path.name for path in (whole / "export").iterdir()} >= {
        *("model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"),
        *("prompts", "recipe.json", "evaluation.json", "README.md"),
    }


@pytest.mark.timeout(600)
def test_two_processes_train_one_model(mini: Mini, tmp_path: Path):
    """With gloo. The two orders of a pair sit on different ranks here, and meet for their rewards."""
    file = mini("two")

    def launch(*changes: str) -> subprocess.CompletedProcess[str]:
        started = [*command(file, *TWO_PROCESSES), *changes]
        return subprocess.run(started, capture_output=True, text=True, env=environment(), cwd=ROOT, check=False)

    done = launch()
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list((tmp_path / "two" / "rlvr" / "checkpoints" / "checkpoint-4").glob("rng_state_*"))) == 2
    two, one = tmp_path / "two", do(load_recipe(mini("one")), only=("data", "chains", "distill"))
    together, alone = (load_file(folder / "distill" / "model" / "model.safetensors") for folder in (two, one))
    assert all(torch.allclose(together[name], alone[name], atol=1e-4) for name in alone)
    start = load_file(Path(load_recipe(file).model.path or "") / "model.safetensors")
    assert not all(torch.allclose(start[name].float(), alone[name], atol=1e-3) for name in alone)
    rows = [json.loads(line) for line in (two / "rlvr" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all("rewards/consistency" in row for row in rows)
    made = (two / "export" / "model.safetensors").stat().st_mtime_ns
    done = launch("--restart", "export")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == [str(two)]
    assert (two / "export" / "model.safetensors").stat().st_mtime_ns > made
    done = launch("--set", "distill.batch=2", "--restart", "distill")
    assert done.returncode
    assert "distill.batch (2) must be a multiple of the micro_batch (2) x 2 training processes" in done.stderr


def test_a_finished_run_repeats_nothing_and_a_stage_can_be_restarted(mini: Mini):
    recipe = load_recipe(mini("short", short=True), ["distill.steps=2"])
    folder = do(recipe)
    weights = folder / "distill" / "model" / "model.safetensors"
    made, data = weights.stat().st_mtime_ns, (folder / "data" / "manifest.json").stat().st_mtime_ns
    do(recipe)
    assert weights.stat().st_mtime_ns == made
    do(recipe, restart="distill")
    assert weights.stat().st_mtime_ns > made
    assert (folder / "data" / "manifest.json").stat().st_mtime_ns == data


def test_results_of_other_settings_are_not_mixed_in(mini: Mini):
    file = mini("short", short=True)
    do(load_recipe(file, ["distill.steps=2"]))
    changed = load_recipe(file, ["distill.steps=3"])
    with pytest.raises(Refused, match=r"short/distill was made with other settings; --restart distill makes it again"):
        do(changed)
    do(changed, restart="distill")


def test_two_runs_do_not_work_in_one_folder(mini: Mini):
    recipe = load_recipe(mini("busy", short=True))

    class Meddler(Display):
        def begin(self, *_: Any) -> None:
            do(recipe)

    with pytest.raises(Refused, match="another run is at work in"):
        run(recipe, Meddler(Console(quiet=True)))


def test_a_disk_that_is_too_small_is_reported_before_the_first_step(mini: Mini, tmp_path: Path):
    shape = "{hidden_size=65536, num_hidden_layers=500, num_attention_heads=64, intermediate_size=262144, vocab_size=150000}"
    recipe = load_recipe(mini("huge"), [f"model={{scratch={shape}}}"])
    with pytest.raises(RecipeError, match=r"this run writes up to [\d,.]+ GB \(models and checkpoints\), and [\d,.]+ GB are free"):
        do(recipe)
    assert not (tmp_path / "huge").exists()


def test_without_a_terminal_each_stage_is_a_line(mini: Mini):
    console = Console(record=True, width=200, force_terminal=False)
    libraries.quiet()
    with Display(console) as display:
        run(load_recipe(mini("lines", short=True), ["distill.steps=2"]), display)
    lines = console.export_text().splitlines()
    assert lines[0].startswith("mini: ")
    assert any(line.startswith("distillation (SFT): weights ") for line in lines)
    assert any(line.startswith("oracle chains: 4") and "kept" in line for line in lines)
