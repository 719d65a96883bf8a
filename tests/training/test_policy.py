"""The model that is trained: what its chat template must show, its precision, and the project of its curves."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from reasrm_training.loop.arguments import arguments, required
from reasrm_training.model.loading import _without_weights, load_policy
from reasrm_training.model.tokenizer import load_tokenizer

from reasrm.errors import RecipeError
from tests.tiny_model import CHATML
from tests.training.number_task import recipe

REFUSES = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
PASSES_OVER = CHATML.replace("messages %}", "messages if message['role'] != 'system' %}", 1)


@pytest.mark.parametrize("template", [REFUSES, PASSES_OVER])
def test_a_chat_template_without_a_system_role_goes_with_packs_that_have_no_system_text(
    tiny_model: Path, tmp_path: Path, template: str
):
    shutil.copytree(tiny_model, tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").write_text(template, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"drops system prompts, and the pack rubric has one; give a folder without"):
        load_tokenizer(recipe(tmp_path / "model", tmp_path))
    for pack in ("free", "world"):
        assert load_tokenizer(recipe(tmp_path / "model", tmp_path, prompts=pack)).chat_template == template


def test_a_model_is_measured_in_the_precision_of_its_training_and_its_positions_in_full(tiny_model: Path, tmp_path: Path):
    given = recipe(tiny_model, tmp_path, rlvr={"precision": "bf16"})
    assert (given.precision, recipe(tiny_model, tmp_path).precision) == ("bf16", "fp32")
    model = load_policy(given, trained=False, precision=given.precision)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert {buffer.dtype for buffer in model.buffers()} == {torch.float32}
    assert load_policy(given, trained=False).dtype == torch.float32


def test_curves_go_to_the_recipes_project_of_wandb(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_PROJECT", "another")
    for to, project in ([], "another"), (["wandb"], "judges"):
        given = recipe(tiny_model, tmp_path, track={"to": to, "project": "judges"})
        arguments(given, required(given.distill, "distill"), tmp_path)
        assert os.environ["WANDB_PROJECT"] == project


def test_a_model_that_gets_its_weights_from_another_process_starts_as_the_same_model(tiny_model: Path, tmp_path: Path):
    given = recipe(tiny_model, tmp_path)
    settings = {"revision": None, "attn_implementation": "sdpa", "dtype": torch.float32}
    whole, empty = load_policy(given, trained=True), _without_weights(str(tiny_model), settings)
    assert {name: weight.shape for name, weight in empty.named_parameters()} == {
        name: weight.shape for name, weight in whole.named_parameters()
    }
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(empty.buffers(), whole.buffers(), strict=True))
    assert empty.generation_config.eos_token_id == whole.generation_config.eos_token_id
