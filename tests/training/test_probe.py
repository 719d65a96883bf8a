"""Held-out pairs that are judged along the way: at fixed steps, once each, without an effect on the training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from reasrm_training.measure.probe import JUDGMENTS, probe_pairs, probe_steps
from reasrm_training.model.loading import weights_digest
from reasrm_training.rl import trainer as rl_trainer
from reasrm_training.sft import trainer as sft_trainer

from tests.training.number_task import chains, heldout, recipe, tasks


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / JUDGMENTS).read_text().splitlines()]


def test_a_round_comes_at_every_quarter_and_at_the_end():
    assert probe_steps(80) == {20, 40, 60, 80}
    assert probe_steps(2) == {1, 2}
    assert max(probe_steps(7)) == 7


def test_probe_pairs_come_from_as_many_subsets_as_possible():
    assert [example.id for example in probe_pairs(heldout("x", "x", "y", "z"), 3)] == ["0", "2", "3"]
    assert [example.id for example in probe_pairs(heldout("x", "x", "y"), 3)] == ["0", "2", "1"]
    assert probe_pairs(heldout("x"), 0) == []


def test_probes_are_kept_and_do_not_change_the_training(tiny_model: Path, tmp_path: Path):
    probed = heldout("x", "y")
    given = recipe(tiny_model, tmp_path, rlvr={"prompts": 8, "steps": 2, "max_completion_tokens": 8})
    weights: dict[str, list[str]] = {}
    for name, pairs in (("with", probed), ("without", [])):
        folder = tmp_path / name
        start = sft_trainer.train(given, chains(32), folder / "distill", probed=pairs)
        trained = rl_trainer.train(given, tasks(8), folder / "rlvr", kind="rubric", start=start, probed=pairs)
        weights[name] = [weights_digest(start), weights_digest(trained)]
    assert weights["with"] == weights["without"]
    assert not (tmp_path / "without" / "distill" / JUDGMENTS).exists()
    rows = rows_of(tmp_path / "with" / "distill")
    assert [row["step"] for row in rows] == [step for step in range(5) for _ in range(4)]
    assert [(row["id"], row["order"]) for row in rows[:4]] == [("0", "ab"), ("0", "ba"), ("1", "ab"), ("1", "ba")]
    assert [row["step"] for row in rows_of(tmp_path / "with" / "rlvr")] == [step for step in range(3) for _ in range(4)]


def test_a_resumed_stage_judges_no_round_twice(tiny_model: Path, tmp_path: Path):
    given = recipe(tiny_model, tmp_path, distill={"steps": 4, "save_steps": 1}, rlvr={"max_completion_tokens": 8})
    whole, broken, early = tmp_path / "whole", tmp_path / "broken", tmp_path / "early"
    sft_trainer.train(given, chains(32), whole, probed=heldout("x"))
    for folder, left in ((broken, ("checkpoint-3",)), (early, ())):
        shutil.copytree(whole, folder)
        shutil.rmtree(folder / "model")
        for checkpoint in (folder / "checkpoints").glob("checkpoint-*"):
            if checkpoint.name not in left:
                shutil.rmtree(checkpoint)
        sft_trainer.train(given, chains(32), folder, probed=heldout("x"))
        assert rows_of(folder) == rows_of(whole)


def test_where_the_policy_is_sharded_no_process_samples_alone(tiny_model: Path, tmp_path: Path):
    given = recipe(tiny_model, tmp_path, cluster={"sharding": "fsdp2"})
    sft_trainer.train(given, chains(8), tmp_path, probed=heldout("x"))
    assert not (tmp_path / JUDGMENTS).exists()
