"""Plans: exact parameter counts, memory close to PyTorch's count, and hours that scale with the work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from reasrm_training.config.model import Model
from reasrm_training.config.recipe import Recipe
from reasrm_training.config.recipes import built_in_recipes, load_recipe
from reasrm_training.model.loading import check_adapters
from reasrm_training.plan.estimate import Lengths, plan
from reasrm_training.plan.launch import launch_command
from reasrm_training.plan.memory import disk_bytes, training_memory
from reasrm_training.plan.shapes import Decoder, adapter_parameters, parameters, shape_in, shape_of

from reasrm.errors import RecipeError

PUBLISHED = {  # the values of the models' cards and safetensors indices
    "rm-r1-qwen2.5-instruct-7b": 7_615_616_512,
    "rm-r1-qwen2.5-instruct-14b": 14_770_033_664,
    "rm-r1-qwen2.5-instruct-32b": 32_763_876_352,
    "rm-r1-deepseek-distilled-qwen-7b": 7_615_616_512,
    "qwen3-8b": 8_190_735_360,
}


@pytest.mark.parametrize(("recipe", "count"), PUBLISHED.items())
def test_parameters_are_counted_to_the_last_one(recipe: str, count: int):
    assert plan(load_recipe(recipe)).parameters == count


def test_adapters_are_counted_as_peft_counts_them():
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2Config, Qwen2ForCausalLM

    lora = load_recipe("lora-qwen2.5-instruct-7b").model.lora
    assert lora is not None
    small = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100}
    config = Qwen2Config(**small, intermediate_size=160)
    with torch.device("meta"):
        adapters = LoraConfig(r=lora.rank, target_modules=list(lora.targets), task_type="CAUSAL_LM")
        model = get_peft_model(Qwen2ForCausalLM(config), adapters, low_cpu_mem_usage=True)
    counted = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert adapter_parameters(shape_in(config.to_dict()), lora) == counted


@pytest.mark.parametrize("family", ["Qwen2", "Qwen3", "Llama"])
def test_a_models_own_config_gives_its_parameters(family: str):
    import torch
    import transformers

    numbers = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100}
    config = getattr(transformers, f"{family}Config")(**numbers, intermediate_size=160, head_dim=16)
    with torch.device("meta"):
        model = getattr(transformers, f"{family}ForCausalLM")(config)
    assert parameters(shape_in(config.to_dict())) == model.num_parameters()


def test_the_tiny_recipe_counts_what_it_trains():
    from reasrm_training.model.from_scratch import make_model, make_tokenizer

    recipe = load_recipe("tiny")
    assert recipe.model.scratch
    model = make_model(recipe.model.scratch, make_tokenizer(recipe.model.scratch.vocab_size), seed=0)
    # The tokenizer may come out a little smaller than the recipe's bound.
    assert plan(recipe).parameters == pytest.approx(model.num_parameters(), rel=0.05)


@pytest.mark.parametrize(("checkpointing", "precision"), [(True, "bf16"), (False, "bf16"), (False, "fp32")])
def test_memory_is_within_15_percent_of_what_pytorch_counts(checkpointing: bool, precision: str):
    tokens = 4096
    numbers = {"hidden_size": 3584, "num_hidden_layers": 3, "num_attention_heads": 28, "num_key_value_heads": 4}
    shape = Decoder.model_validate(numbers | {"intermediate_size": 18_944, "vocab_size": 1000, "attention_bias": True})
    recipe = load_recipe(
        "rm-r1-qwen2.5-instruct-7b",
        ["cluster.gpus=1", "cluster.sharding=none", f"model.gradient_checkpointing={str(checkpointing).lower()}"],
    )
    expected = training_memory(recipe, shape, tokens, precision)
    del expected["optimizer"], expected["context"]  # the count has neither of them
    assert sum(expected.values()) == pytest.approx(_counted(shape, tokens, checkpointing, precision), rel=0.15)


def _counted(shape: Decoder, tokens: int, checkpointing: bool, precision: str) -> float:
    """The peak of two accumulated backward passes through such a model, by PyTorch's own tracker; no value is really computed."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.mem_tracker import MemTracker
    from transformers import Qwen2Config, Qwen2ForCausalLM

    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size", "vocab_size")
    config = Qwen2Config(**{name: getattr(shape, name) for name in names}, tie_word_embeddings=False, max_position_embeddings=32768)
    with FakeTensorMode():
        model = Qwen2ForCausalLM(config).train()
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        ids = torch.zeros((1, tokens), dtype=torch.long)
        tracker = MemTracker()
        tracker.track_external(model)
        with tracker:
            for _ in range(2):
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
                hidden.float().mean().backward()
                tracker.reset_mod_stats()
        return sum(snapshot["Total"] for snapshot in tracker.get_tracker_snapshot("peak").values())


def test_the_hardware_of_the_paper_is_enough_for_its_recipes():
    for name in built_in_recipes():
        for stage in plan(load_recipe(name)).stages:
            assert stage.fits, (name, stage)


def test_a_model_that_does_not_fit_is_reported():
    alone = ["cluster.nodes=1", "cluster.gpus=1", "cluster.sharding=none", "rollouts.tensor_parallel=1"]
    lone = load_recipe("rm-r1-qwen2.5-instruct-32b", alone)
    assert not any(stage.fits for stage in plan(lone).stages)


def test_sharding_divides_what_training_holds():
    alone, shared = (
        plan(load_recipe("qwen3-8b", [f"cluster.gpus={gpus}", f'cluster.sharding="{sharding}"', "cluster.gpu=B200"]))
        .stages[0]
        .memory
        for gpus, sharding in ((1, "none"), (8, "fsdp2"))
    )
    for part in ("weights", "gradients", "optimizer"):
        assert shared[part] == pytest.approx(alone[part] / 8)


def test_adapters_need_no_reference_and_four_bits_a_quarter_of_the_weights():
    lora = plan(load_recipe("lora-qwen2.5-instruct-7b")).stages[1].memory
    qlora = plan(load_recipe("lora-qwen2.5-instruct-7b", ["model.lora.four_bit=true", "rollouts.backend=vllm"])).stages[1].memory
    assert "reference" not in lora
    assert qlora["weights"] < 0.45 * lora["weights"]
    assert lora["optimizer"] < 2e9


def test_twice_the_replies_take_twice_the_hours_and_twice_the_gpus_half():
    def hours(*overrides: str) -> float:
        return (
            plan(load_recipe("rm-r1-qwen2.5-instruct-7b", overrides), Lengths(prompt=1000, reply=800)).stages[1].hours["training"]
        )

    assert hours("rlvr.steps=140") == pytest.approx(2 * hours())
    assert hours("cluster.nodes=2") == pytest.approx(hours() / 2)


def test_the_oracles_price_follows_from_the_recipes_prices():
    prices = ["oracle.first.usd_per_million_output=10", "oracle.second.usd_per_million_output=40"]
    needs = plan(load_recipe("rm-r1-qwen2.5-instruct-7b", prices), Lengths(prompt=1000, reply=500)).oracle
    assert needs is not None
    assert needs.requests == 8700 * 1.25
    assert needs.usd == pytest.approx(8700 * 500 * 10e-6 + 0.25 * 8700 * 500 * 40e-6)


def test_several_nodes_get_the_command_for_each_of_them():
    command = launch_command(load_recipe("rm-r1-qwen2.5-instruct-32b"), "mine.toml")
    assert "--num_machines 4" in command
    assert "--num_processes 32" in command
    assert "fsdp2.yaml" in command
    assert command.endswith("train run mine.toml")
    assert plan(load_recipe("tiny")).command == "reasrm train run tiny"


def test_accelerate_takes_the_command_of_several_nodes_that_share_nothing():
    import shlex

    from accelerate.commands.launch import launch_command_parser

    command = launch_command(load_recipe("rm-r1-qwen2.5-instruct-14b", ["cluster.sharding=none"]), "mine.toml --set seed=2")
    words = [word.removeprefix("$RANK") or "1" for word in shlex.split(command)]
    arguments = launch_command_parser().parse_args(words[2:])
    assert (
        arguments.num_machines,
        arguments.machine_rank,
        arguments.num_processes,
        arguments.multi_gpu,
        arguments.config_file,
    ) == (2, 1, 16, True, None)
    assert arguments.training_script_args == ["train", "run", "mine.toml", "--set", "seed=2"]


def test_a_model_of_the_hub_is_planned_by_its_config(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    snapshot = tmp_path / "models--some--judge" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert parameters(shape_of(Model(path="some/judge", revision="0" * 40))) == parameters(shape_of(Model(path=str(tiny_model))))


def test_a_mixture_of_experts_is_not_counted_as_one_expert(tmp_path: Path):
    numbers = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 160, "vocab_size": 100}
    (tmp_path / "config.json").write_text(json.dumps(numbers | {"num_local_experts": 8}))
    with pytest.raises(RecipeError, match="num_local_experts = 8: a mixture of experts cannot be planned"):
        shape_of(Model(path=str(tmp_path)))


def test_unknown_models_and_gpus_are_named(tmp_path: Path):
    with pytest.raises(RecipeError, match="the shape of some/model is not known"):
        shape_of(Model(path="some/model"))
    with pytest.raises(RecipeError, match="no figures for 'TPU'"):
        plan(load_recipe("qwen3-8b", ["cluster.gpu=TPU"]))
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 4}))
    with pytest.raises(RecipeError, match="not the config of a decoder"):
        shape_of(Model(path=str(tmp_path)))


def test_a_plan_survives_json():
    needs = plan(load_recipe("tiny"))
    assert type(needs).model_validate_json(needs.model_dump_json()) == needs


def test_a_local_model_is_planned_by_its_config(tiny_model: Path):
    recipe = load_recipe("lora-qwen2.5-instruct-7b", [f"model.path={json.dumps(str(tiny_model))}"])
    assert isinstance(recipe, Recipe)
    assert 0 < plan(recipe).parameters < 1_000_000


@pytest.mark.parametrize("name", ["rm-r1-qwen2.5-instruct-7b", "lora-qwen2.5-instruct-7b"])
def test_a_run_asks_for_the_disk_that_its_plan_names(tiny_model: Path, name: str):
    recipe = load_recipe(name, [f"model.path={json.dumps(str(tiny_model))}"])
    shape = shape_of(recipe.model)
    assert plan(recipe).disk == disk_bytes(recipe, shape) > 0


def test_adapters_to_layers_that_the_model_lacks_are_named(tiny_model: Path):
    path = f"model.path={json.dumps(str(tiny_model))}"
    recipe = load_recipe("lora-qwen2.5-instruct-7b", [path, 'model.lora.targets=["query_key_value"]'])
    with pytest.raises(RecipeError, match=r"model\.lora: .*query_key_value"):
        check_adapters(recipe)
