"""Stage 2 with TRL's own sampling: learning, logged numbers, the brake, and resuming."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from reasrm_training.config.training import Guard, Rlvr
from reasrm_training.data.step_log import StepLog
from reasrm_training.loop.checkpoints import last_checkpoint
from reasrm_training.loop.fit import MetricsWriter
from reasrm_training.model.loading import weights_digest
from reasrm_training.rl import trainer as rl_trainer
from reasrm_training.rl.brake import breaches
from reasrm_training.rl.prompts import schedule
from reasrm_training.rl.reward_function import REASONS
from reasrm_training.sft import trainer as sft_trainer

from reasrm.errors import InputError, Refused
from tests.training.number_task import LENIENT, chains, recipe, tasks


@pytest.fixture(scope="session")
def distilled(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers in the right form, and no better than chance."""
    folder = tmp_path_factory.mktemp("distilled")
    return sft_trainer.train(recipe(tiny_model, folder, distill={"steps": 40, "save_steps": 100}), chains(64), folder)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def timeless(folder: Path) -> list[dict[str, Any]]:
    rows = rows_of(folder / "metrics.jsonl")
    return [{name: value for name, value in row.items() if name != "step_time" and "seconds/" not in name} for row in rows]


def test_every_step_logs_the_judges_numbers(distilled: Path, tmp_path: Path):
    given = recipe(distilled, tmp_path, rlvr={"kl": 1e-3, "reward": {"verdict": 1.0, "consistency": 0.5, "length": 0.1}})
    rl_trainer.train(given, tasks(8), tmp_path, kind="rubric", start=distilled, callbacks=[MetricsWriter(tmp_path)])
    first, second = rows_of(tmp_path / "metrics.jsonl")
    assert (first["step"], second["step"]) == (1, 2)
    shares = ("verdict_accuracy", "order_consistency", "p_a", "format", "no_verdict", "frac_reward_zero_std")
    assert all(0.0 <= first[name] <= 1.0 for name in shares)
    assert sum(first[f"no_verdict/{reason}"] for reason in REASONS) == pytest.approx(first["no_verdict"])
    assert first["rewards/verdict"] == pytest.approx(2 * first["verdict_accuracy"] - 1, abs=1e-5)
    assert first["reward"] == pytest.approx(
        first["rewards/verdict"] + 0.5 * first["rewards/consistency"] + 0.1 * first["rewards/length"], abs=1e-5
    )
    assert {"entropy", "kl", "loss", "completions/mean_length"} <= first.keys()
    spent = [second[f"seconds/{part}"] for part in ("sampling", "rewards", "training")]
    assert all(seconds > 0 for seconds in spent)
    assert spent[0] + spent[1] < second["step_time"] < sum(spent)  # the optimizer's step is not in TRL's number
    samples = rows_of(tmp_path / "samples.jsonl")
    assert {row["step"] for row in samples} == {0, 1}
    assert samples[0].keys() == {"step", "prompt", "reply", "gold", "reward"}
    assert list((tmp_path / "tensorboard").iterdir())


def test_rewarded_replies_become_more_likely(distilled: Path, tmp_path: Path):
    one_side = [task for task in tasks(32) if task.gold == "A"]  # a behaviour that can be learnt within seconds: to answer A
    guard = LENIENT | {"probability_a": [0.0, 1.0]}
    given = recipe(distilled, tmp_path, rlvr={"steps": 20, "learning_rate": 3e-3, "generations": 8, "guard": guard})
    rl_trainer.train(given, one_side, tmp_path, kind="rubric", start=distilled, callbacks=[MetricsWriter(tmp_path)])
    rows = rows_of(tmp_path / "metrics.jsonl")
    assert all(row["rewards/verdict"] == pytest.approx(2 * row["verdict_accuracy"] - 1, abs=1e-5) for row in rows)
    assert sum(row["verdict_accuracy"] for row in rows[-3:]) / 3 > 0.9 > rows[0]["verdict_accuracy"]


def test_a_run_that_was_stopped_ends_with_the_same_weights_and_numbers(distilled: Path, tmp_path: Path):
    given = recipe(distilled, tmp_path, rlvr={"steps": 4, "prompts": 8, "save_steps": 1, "kl": 1e-3})
    whole, broken = tmp_path / "whole", tmp_path / "broken"

    def train(folder: Path) -> None:
        callbacks = [MetricsWriter(folder, stride=2)]
        rl_trainer.train(given, tasks(10), folder, kind="rubric", start=distilled, callbacks=callbacks)

    train(whole)
    shutil.copytree(whole, broken)
    shutil.rmtree(broken / "model")
    shutil.rmtree(broken / "checkpoints" / "checkpoint-8")
    train(broken)
    assert weights_digest(whole / "model") != weights_digest(distilled)
    assert weights_digest(broken / "model") == weights_digest(whole / "model")
    assert timeless(broken) == timeless(whole)
    assert (broken / "samples.jsonl").read_text() == (whole / "samples.jsonl").read_text()


def test_a_run_that_collapses_stops_with_a_reason(distilled: Path, tmp_path: Path):
    one_side = [task for task in tasks(32) if task.gold == "A"]  # they teach only to answer A, for every question
    given = recipe(
        distilled,
        tmp_path,
        rlvr={"steps": 40, "save_steps": 1, "learning_rate": 3e-3, "generations": 8, "guard": LENIENT | {"patience": 2}},
    )
    with pytest.raises(Refused, match=r"RL stopped itself at step \d+, the judge collapsed: \d+% of the verdicts name A"):
        rl_trainer.train(given, one_side, tmp_path, kind="rubric", start=distilled)
    assert not (tmp_path / "model").exists()
    checkpoint = last_checkpoint(tmp_path)
    assert checkpoint is not None
    assert int(checkpoint.rpartition("-")[2]) < 40


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"p_a": 0.95}, "p_a"),
        ({"p_a": 0.05}, "p_a"),
        ({"format": 0.4}, "format"),
        ({"completions/mean_length": 96.0}, "length"),
        ({"entropy": 0.001}, "entropy"),
    ],
)
def test_each_bound_of_the_guard_is_watched(row: dict[str, float], name: str):
    healthy = {"p_a": 0.5, "format": 1.0, "completions/mean_length": 50.0, "entropy": 0.3}
    assert breaches(healthy, Guard(), 100) == {}
    assert list(breaches(healthy | row, Guard(), 100)) == [name]


def test_the_schedule_keeps_a_pairs_orders_together_and_shows_every_pair_before_any_again():
    stage = Rlvr(steps=5, prompts=8, mini_batch=4, learning_rate=1e-6)
    order = schedule(tasks(10), stage, seed=7)
    assert len(order) == 40
    assert all(a.pair == b.pair and a.order != b.order for a, b in zip(order[::2], order[1::2], strict=True))
    assert len({task.pair for task in order[:20]}) == 10
    assert order == schedule(tasks(10), stage, seed=7) != schedule(tasks(10), stage, seed=8)


def test_prompts_that_do_not_fit_are_left_out_and_at_least_one_must_fit(distilled: Path, tmp_path: Path):
    given = recipe(distilled, tmp_path, rlvr={"max_prompt_tokens": 4})
    with pytest.raises(InputError, match=r"none of the 8 prompts fits into rlvr\.max_prompt_tokens = 4"):
        rl_trainer.make_trainer(given, tasks(4), tmp_path, kind="rubric", start=distilled)


def test_a_step_log_goes_back_to_a_step_and_ignores_a_cut_line(tmp_path: Path):
    journal = StepLog(tmp_path / "j.jsonl")
    for step in (1, 2, 3):
        journal.write(step, {"loss": 0.5})
    with journal.path.open("a") as file:
        file.write('{"step": 4, "lo')
    journal.rewind(2)
    assert [row["step"] for row in journal.read()] == [1, 2]


def test_kl_is_measured_against_the_revision_that_is_trained(tiny_model: Path, tmp_path: Path):
    given = recipe(tiny_model, tmp_path, model={"revision": "abc"}, rlvr={"kl": 1e-3})
    trainer = rl_trainer.make_trainer(given, tasks(4), tmp_path, kind="rubric")
    assert trainer.args.model_init_kwargs == {"revision": "abc"}  # TRL loads the reference by it
    reference: Any = trainer.ref_model
    assert reference.dtype == torch.float32
