"""Recipes: which are accepted, the message for each mistake, and the numbers of the built-in ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from reasrm_training.config.recipes import FOLDER, built_in_recipes, load_recipe

from reasrm.errors import RecipeError

MINIMAL = """
name = "mine"
[model]
path = "some/model"
[[data.sources]]
path = "pairs.jsonl"
"""


@pytest.fixture
def recipe_file(tmp_path: Path):
    def write(text: str, name: str = "mine.toml") -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def mistakes(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("name", built_in_recipes())
def test_every_built_in_recipe_is_valid_and_named_after_its_file(name: str):
    assert load_recipe(name).name == name


@pytest.mark.parametrize(
    ("size", "sft_rate", "instruct_rate", "distilled_rate", "nodes"),
    [("7b", 5e-6, 1e-6, 1e-6, 1), ("14b", 3e-6, 7e-7, 1e-6, 2), ("32b", 2e-6, 5e-7, 8e-7, 4)],
)
def test_rm_r1_recipes_carry_the_numbers_of_the_paper(size, sft_rate, instruct_rate, distilled_rate, nodes):
    instruct = load_recipe(f"rm-r1-qwen2.5-instruct-{size}")
    distilled = load_recipe(f"rm-r1-deepseek-distilled-qwen-{size}")
    assert instruct.distill
    assert (instruct.distill.learning_rate, instruct.distill.batch, instruct.distill.max_length) == (sft_rate, 128, 12288)
    assert (instruct.rlvr.learning_rate, distilled.rlvr.learning_rate) == (instruct_rate, distilled_rate)
    for recipe in (instruct, distilled):
        stage = recipe.rlvr
        assert stage is not None
        assert (stage.prompts, stage.mini_batch, stage.generations, stage.steps) == (1024, 128, 7, 70)
        assert (stage.temperature, stage.top_p, stage.clip, stage.kl) == (1.0, 1.0, 0.2, 1e-3)
        assert (stage.max_prompt_tokens, stage.max_completion_tokens, stage.max_grad_norm) == (4096, 8192, 1.0)
        assert stage.reward == {"verdict": 1.0}
        assert (recipe.cluster.nodes, recipe.cluster.gpus, recipe.seed) == (nodes, 8, 42)
    assert distilled.distill is None
    assert (instruct.prompts, distilled.prompts) == ("rubric", "free")


def test_a_recipe_has_the_stages_of_its_tables(recipe_file):
    assert load_recipe(recipe_file(MINIMAL)).stages == ("data", "export")
    with_rl = load_recipe(recipe_file(MINIMAL + "[rlvr]\nsteps = 1\nlearning_rate = 1e-6\n"))
    assert with_rl.stages == ("data", "rlvr", "export")
    assert load_recipe("tiny").stages == ("data", "chains", "distill", "rlvr", "evaluate", "export")


def test_the_length_of_a_reply_follows_from_the_recipe(recipe_file):
    path = recipe_file(MINIMAL + "[rlvr]\nsteps = 1\nlearning_rate = 1e-6\nmax_completion_tokens = 600\n")
    assert load_recipe(path).reply_tokens == 600
    assert load_recipe(path, ["data.heldout=9", "evaluate.max_tokens=700"]).reply_tokens == 700
    path, distilled = recipe_file(MINIMAL), ["data.distill=9", "distill.learning_rate=1e-6"]
    assert load_recipe(path, distilled).reply_tokens == 1024
    assert load_recipe(path, [*distilled, "data.heldout=9", "evaluate.pairs=9"]).reply_tokens == 4096
    assert load_recipe(path, [*distilled, "distill.max_length=500"]).reply_tokens == 500


def test_every_mistake_has_a_line_with_its_key(recipe_file):
    path = recipe_file(
        'name = "x"\n[model]\npath = "p"\n[model.lora]\nrnk = 3\n[[data.sources]]\npath = "a"\nschem = "b"\n'
        "[rlvr]\nstepz = 3\nlearning_rate = -1\n[rlvr.reward]\nverdit = 1.0\n"
    )
    assert mistakes(path) == [
        "mine.toml: model.lora.rnk: unknown key; did you mean rank?",
        "mine.toml: data.sources.0.schem: unknown key; did you mean schema?",
        "mine.toml: rlvr.steps: missing",
        "mine.toml: rlvr.learning_rate: input should be greater than 0, not -1",
        "mine.toml: rlvr.reward.verdit: input should be 'verdict', 'format', 'consistency', 'margin' or 'length', not 'verdit'",
        "mine.toml: rlvr.stepz: unknown key; did you mean steps?",
    ]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["world.chains=5"], "world.chain_levels: missing"),
        (["model.scratch.hidden_size=1"], "model.scratch.num_hidden_layers: missing"),
        (["rlvr.steps=1", "rlvr.learning_rate=1e-6", "rlvr.prompts=10", "rlvr.mini_batch=4"], "prompts (10) must be a multiple"),
        (["distill.learning_rate=1e-6"], "[distill] needs chains: give data.distill"),
        (["evaluate.pairs=5"], "[evaluate] needs pairs: give data.heldout"),
        (
            ["distill.learning_rate=1e-6", "data.distill=9", "cluster.gpus=3"],
            "distill.batch (128) must be a multiple of distill.micro_batch x 3",
        ),
        (["cluster.gpus=2", "rollouts.gpus=2"], "rollouts.gpus (2) leaves no GPU"),
        (["cluster.gpus=3", "rollouts.gpus=1"], "rollouts.gpus: transformers samples on the GPUs that train"),
        (["cluster.gpus=3", "rollouts.gpus=1", "rollouts.backend=vllm"], "rollouts.gpus: vllm samples on the GPUs that train"),
        (["evaluate.benchmarks=[]"], "evaluate.benchmarks: unknown key"),
        (["oracle.first.url=http://x", "oracle.first.model=m", "oracle.samples=4", "oracle.temperature=0"], "samples > 1 needs"),
        (["name=../up"], "name: string should match pattern"),
    ],
)
def test_settings_that_cannot_work_together_are_refused(recipe_file, overrides, message):
    assert any(message in line for line in mistakes(recipe_file(MINIMAL), *overrides))


def test_gpus_are_set_aside_for_a_sampler_that_uses_them(recipe_file):
    path, split = recipe_file(MINIMAL), ["cluster.gpus=3", "rollouts.gpus=1"]
    assert load_recipe(path, [*split, "rollouts.backend=sglang"]).trainers == 2
    assert load_recipe(path, [*split, "rollouts.backend=vllm", "rollouts.url=http://127.0.0.1:8000"]).trainers == 2


def test_a_recipe_with_a_mix_and_a_world_is_refused():
    with pytest.raises(RecipeError, match=r"either \[data\] .* or \[world\]"):
        load_recipe("tiny", ['data={sources=[{path="x"}]}'])


def test_overrides_change_single_values(recipe_file):
    recipe = load_recipe(recipe_file(MINIMAL), ["seed=7", "model.path=other/model", "data.heldout=3", "output=elsewhere"])
    assert (recipe.seed, recipe.model.path, recipe.data and recipe.data.heldout) == (7, "other/model", 3)
    assert recipe.folder("data") == Path("elsewhere/data")


@pytest.mark.parametrize("override", ["seed", "=3", "name.inner=3"])
def test_a_malformed_override_is_refused(recipe_file, override):
    assert f"--set {override}" in mistakes(recipe_file(MINIMAL), override)[0]


def test_an_unknown_recipe_is_answered_with_the_known_ones():
    with pytest.raises(RecipeError, match=r"no such recipe; give a \.toml file or one of lora-"):
        load_recipe("tinny")


def test_the_line_of_broken_toml_is_named(recipe_file):
    assert "mine.toml: not valid TOML" in mistakes(recipe_file("name = \n"))[0]


def test_a_recipe_extends_another_and_says_only_what_differs(recipe_file):
    base = recipe_file(MINIMAL + "[rlvr]\nsteps = 1\nlearning_rate = 1e-6\n[export]\nmerge = false\n", "base.toml")
    recipe = load_recipe(recipe_file(f'extends = "{base}"\nname = "next"\nrlvr = false\n[model]\nrevision = "abc"\n'))
    assert (recipe.name, recipe.model.path, recipe.model.revision) == ("next", "some/model", "abc")
    assert recipe.rlvr is None
    assert recipe.export.merge is False


@pytest.mark.parametrize("base", ["3", '["tiny"]', "false"])
def test_a_recipe_that_extends_no_name_is_refused(recipe_file, base: str):
    assert mistakes(recipe_file(f"extends = {base}\n"))[0].startswith("mine.toml: extends: a recipe's name or file, not ")


def test_a_circle_of_recipes_is_refused(recipe_file, tmp_path: Path):
    path = recipe_file(f'extends = "{tmp_path / "other.toml"}"\n')
    recipe_file(f'extends = "{path}"\n', "other.toml")
    assert "extends itself" in mistakes(path)[0]


def test_the_digest_names_what_decides_the_outcome_and_nothing_else():
    tiny = load_recipe("tiny")
    assert load_recipe("tiny", ["output=elsewhere", 'track.to=["trackio"]']).digest == tiny.digest
    assert load_recipe("tiny", ["seed=9"]).digest != tiny.digest
    assert load_recipe("tiny", ["rlvr.learning_rate=2e-4"]).digest != tiny.digest


@pytest.mark.parametrize("name", ["fsdp2", "zero3"])
def test_accelerate_reads_the_files_of_both_shardings(name: str):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert (config.num_processes, config.num_machines, config.mixed_precision) == (8, 1, "no")
    kind = {"fsdp2": "FSDP", "zero3": "DEEPSPEED"}[name]
    assert kind in str(config.distributed_type)


def test_reading_recipes_loads_no_torch():
    import subprocess
    import sys

    code = "import sys; from reasrm_training.config.recipes import load_recipe; load_recipe('tiny'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
