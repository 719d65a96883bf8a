"""A run reports what its recipe needs beyond the trainer's own packages before the first step, with one line for each."""

from __future__ import annotations

import sys
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

import pytest
from reasrm_training.config.recipe import Recipe
from reasrm_training.config.recipes import load_recipe
from reasrm_training.config.values import Stage
from reasrm_training.plan.estimate import plan
from reasrm_training.plan.requirements import PACKAGES, check_gpus, check_installed
from reasrm_training.run.pipeline import run
from reasrm_training.run.progress import Display

from reasrm.errors import RecipeError

SGLANG = "rollouts.backend=sglang"


def missing(recipe: Recipe, stages: Collection[Stage]) -> list[str]:
    """The lines about what `stages` need and this machine lacks."""
    try:
        check_installed(recipe, stages)
    except RecipeError as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ('track.to=["wandb"]', 'track.to = "wandb" needs wandb: pip install wandb'),
        ('track.to=["trackio"]', 'track.to = "trackio" needs trackio: pip install trackio'),
        ("rollouts.backend=vllm", "rollouts.backend = \"vllm\" needs vllm: pip install 'trl[vllm]'"),
        ("cluster.sharding=zero3", 'cluster.sharding = "zero3" needs deepspeed: pip install deepspeed'),
        (
            "model.attention=flash_attention_2",
            'model.attention = "flash_attention_2" needs flash_attn or kernels: pip install flash-attn',
        ),
        (
            f'{SGLANG} rollouts.server="no-such-python -m x"',
            "rollouts.server: there is no program no-such-python; name the Python of",
        ),
        (
            f'{SGLANG} rollouts.server="{sys.executable} -m not_there.x"',
            f"rollouts.server: {sys.executable} has no not_there; name the",
        ),
        (
            f'{SGLANG} rollouts.server="python \'"',
            "is no command; name the Python of the environment that has SGLang, or the address",
        ),
    ],
)
def test_missing_packages_are_reported_before_the_first_step(change: str, line: str, tmp_path: Path) -> None:
    if any(f'"{value}" needs' in line and any(map(find_spec, modules)) for _, value, modules, _ in PACKAGES):
        pytest.skip("it is installed here")
    changes = change.split(" ", 1)
    recipe = load_recipe("tiny", [*changes, f'output="{tmp_path / "run"}"'])
    with pytest.raises(RecipeError) as refused:
        run(recipe, Display.silent())
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_each_thing_that_is_missing_has_a_line(tmp_path: Path) -> None:
    changes = ["model.lora.four_bit=true", "rollouts.backend=vllm"]
    recipe = load_recipe("lora-qwen2.5-instruct-7b", changes)
    if find_spec("bitsandbytes") or find_spec("vllm"):
        pytest.skip("it is installed here")
    sampler, four_bit = missing(recipe, recipe.stages)
    assert four_bit == "model.lora.four_bit = true needs bitsandbytes: pip install bitsandbytes"
    assert sampler == "rollouts.backend = \"vllm\" needs vllm: pip install 'trl[vllm]'"


@pytest.mark.parametrize(
    ("stages", "needs"),
    [
        (("data", "chains"), []),
        (("data", "chains", "distill"), ["track.to", "cluster.sharding"]),
        (("rlvr", "evaluate"), ["track.to", "cluster.sharding", "rollouts.server"]),
    ],
)
def test_a_stage_needs_only_what_it_uses(stages: tuple[Stage, ...], needs: list[str]) -> None:
    if find_spec("deepspeed") or find_spec("wandb"):
        pytest.skip("it is installed here")
    changes = ["cluster.sharding=zero3", SGLANG, "rollouts.server=no-such-program", 'track.to=["wandb"]']
    lines = missing(load_recipe("tiny", changes), stages)
    assert [line.partition(":")[0].partition(" =")[0] for line in lines] == needs


def test_a_running_server_or_a_program_that_has_the_module_is_enough() -> None:
    assert missing(load_recipe("tiny", [SGLANG, 'rollouts.url="http://127.0.0.1:9"']), ("rlvr", "evaluate")) == []
    assert missing(load_recipe("tiny", [SGLANG, f'rollouts.server="{sys.executable} -m json.tool"']), ("rlvr", "evaluate")) == []


def test_training_stages_need_the_recipes_gpus() -> None:
    recipe = load_recipe("tiny", ["cluster.gpus=64", "distill.batch=64", "distill.micro_batch=1", "rlvr.micro_batch=1"])
    with pytest.raises(RecipeError, match=r"cluster\.gpus = 64, but this machine has \d+"):
        check_gpus(recipe, ("distill",))
    assert missing(recipe, ("data", "chains")) == []


def test_a_plan_needs_none_of_the_packages() -> None:
    changes = ["cluster.sharding=zero3", "rollouts.server=no-such-program", 'track.to=["wandb","trackio"]']
    assert plan(load_recipe("rm-r1-qwen2.5-instruct-7b", changes)).stages
