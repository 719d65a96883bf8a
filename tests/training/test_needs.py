"""What a recipe needs and the trainer's own packages do not bring is told before the first step, in a line for each."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from reasrm_training.config.recipes import load_recipe
from reasrm_training.plan.estimate import plan
from reasrm_training.plan.requirements import PACKAGES, check_installed
from reasrm_training.run.pipeline import run
from reasrm_training.run.progress import Display

from reasrm.errors import RecipeError

SGLANG = "rollouts.backend=sglang"


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
def test_what_is_not_installed_is_told_before_the_first_step(change: str, line: str, tmp_path: Path) -> None:
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
    with pytest.raises(RecipeError) as refused:
        check_installed(recipe, recipe.stages)
    sampler, four_bit, gpus = str(refused.value).splitlines()
    assert gpus == "cluster.gpus = 1, but this machine shows 0"
    assert four_bit == "model.lora.four_bit = true needs bitsandbytes: pip install bitsandbytes"
    assert sampler == "rollouts.backend = \"vllm\" needs vllm: pip install 'trl[vllm]'"


def test_only_what_the_wanted_stages_use_is_asked_for() -> None:
    changes = ["cluster.sharding=zero3", SGLANG, "rollouts.server=no-such-program", 'track.to=["wandb"]']
    check_installed(load_recipe("tiny", changes), ("data", "chains"))
    check_installed(load_recipe("tiny", changes[1:3]), ("data", "chains", "distill"))
    check_installed(load_recipe("tiny", [*changes[1:3], 'rollouts.url="http://127.0.0.1:9"']), ("rlvr", "evaluate"))
    check_installed(load_recipe("tiny", [SGLANG, f'rollouts.server="{sys.executable} -m json.tool"']), ("rlvr", "evaluate"))


def test_a_plan_needs_none_of_it() -> None:
    changes = ["cluster.sharding=zero3", "rollouts.server=no-such-program", 'track.to=["wandb","trackio"]']
    assert plan(load_recipe("rm-r1-qwen2.5-instruct-7b", changes)).stages
