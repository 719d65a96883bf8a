"""Every key of a recipe changes the result of a stage, except for the keys that are listed here."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel
from reasrm_training.config.recipe import Recipe
from reasrm_training.config.recipes import built_in_recipes, load_recipe
from reasrm_training.config.values import Stage
from reasrm_training.run.stage_keys import FIRST_READ_BY, FIRST_READ_IN_A_WORLD, IRRELEVANT, decisive, key_of

STAGES: tuple[Stage, ...] = typing.get_args(Stage)
#: The keys that change no result; a new key of a recipe must not join them by accident.
DECIDE_NOTHING = {
    *("output", "prompts", "track.to", "track.project", "track.pairs"),
    *("cluster.nodes", "cluster.gpus", "cluster.gpu", "cluster.sharding"),
    *("rollouts.backend", "rollouts.url", "rollouts.server", "rollouts.gpus", "rollouts.weights"),
    *("rollouts.tensor_parallel", "rollouts.memory_fraction"),
    *("distill.save_steps", "rlvr.save_steps"),
    *("rlvr.guard.probability_a", "rlvr.guard.min_format", "rlvr.guard.max_length_share", "rlvr.guard.min_entropy"),
    "rlvr.guard.patience",
    *("oracle.max_usd", "oracle.max_tokens_total", "oracle.attempts", "oracle.may_lack"),
    *(
        f"oracle.{end}.{key}"
        for end in ("first", "second")
        for key in ("url", "listed", "api_key_env", "usd_per_million_input", "usd_per_million_output", "concurrency", "timeout_s")
    ),
}


def table_in(annotation: Any) -> type[BaseModel] | None:
    """The table that a key of a recipe may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        return next((table for part in typing.get_args(annotation) if (table := table_in(part))), None)
    return None


def keys_of(table: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted keys of every value that a recipe can hold, by its schema."""
    for name, field in table.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        nested = table_in(field.annotation)
        if nested:
            yield from keys_of(nested, f"{key}.")
        else:
            yield key


def full_recipe() -> Recipe:
    """A recipe over a mix that has every table, except for those that exclude others."""
    prices = ["oracle.max_usd=1", "oracle.first.usd_per_million_input=1"]
    return load_recipe("lora-qwen2.5-instruct-7b", prices)


@pytest.mark.parametrize("key", sorted(keys_of(Recipe)))
def test_every_key_of_a_recipe_decides_its_stages_unless_it_is_named(key: str):
    recipe = load_recipe("tiny") if key.startswith(("world.", "model.scratch.")) else full_recipe()
    decides = any(name == key or name.startswith(f"{key}.") or key.startswith(f"{name}.") for name in decisive(recipe, "export"))
    assert decides is (key not in DECIDE_NOTHING)


def test_the_names_of_keys_that_decide_nothing_or_something_later_are_names_of_keys():
    known = set(keys_of(Recipe))
    for name in (*IRRELEVANT, *FIRST_READ_BY, *FIRST_READ_IN_A_WORLD):
        assert any(key == name or key.startswith(f"{name}.") for key in known), name


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ("rollouts.importance_cap=1.5", "rlvr"),
        ('model.path="Qwen/Qwen3-8B"', "data"),
        ('model.revision="abc"', "data"),
        ("model.lora.rank=8", "distill"),
        ("seed=7", "data"),
        ('name="another"', "data"),
        ("data.heldout=9", "data"),
        ("oracle.temperature=0.5", "chains"),
        ('oracle.second.model="another"', "chains"),
        ("distill.learning_rate=1e-3", "distill"),
        ("rlvr.kl=0.5", "rlvr"),
        ("evaluate.pairs=9", "evaluate"),
        ('export.precision="fp32"', "export"),
    ],
)
def test_a_change_decides_the_first_stage_that_reads_it_and_those_after_it(change: str, first: Stage):
    recipe = full_recipe()
    changed = load_recipe("lora-qwen2.5-instruct-7b", ["oracle.max_usd=1", "oracle.first.usd_per_million_input=1", change])
    others = [stage for stage in STAGES if key_of(recipe, stage) != key_of(changed, stage)]
    assert others == list(STAGES[STAGES.index(first) :])


def test_the_model_does_not_decide_the_tasks_and_chains_of_a_world():
    one, two = load_recipe("tiny"), load_recipe("tiny", ["model.scratch.hidden_size=64"])
    assert [stage for stage in STAGES if key_of(one, stage) != key_of(two, stage)] == ["distill", "rlvr", "evaluate", "export"]


@pytest.mark.parametrize(
    "change", ["oracle.max_usd=900.0", "oracle.may_lack=0.5", 'oracle.first.url="http://elsewhere"', "cluster.gpu=H200"]
)
def test_a_run_that_stopped_may_go_on_with_a_larger_budget_and_elsewhere(change: str):
    prices = ["oracle.max_usd=1", "oracle.first.usd_per_million_input=1"]
    more = load_recipe("lora-qwen2.5-instruct-7b", [*prices, change])
    assert [key_of(full_recipe(), stage) for stage in STAGES] == [key_of(more, stage) for stage in STAGES]


@pytest.mark.parametrize("name", built_in_recipes())
def test_the_stages_of_a_recipe_have_keys_of_their_own(name: str):
    recipe = load_recipe(name)
    assert len({key_of(recipe, stage) for stage in recipe.stages}) == len(recipe.stages)
