"""The keys of a recipe that decide the result of a stage. All keys do, from the first stage on, except for those named here.

So a new key of a recipe decides every stage until someone says that it does not.
"""

from __future__ import annotations

import hashlib
import json
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from reasrm.prompts import load_pack
from reasrm_training.config.recipe import Recipe
from reasrm_training.config.values import Stage

#: Keys that decide no result.
IRRELEVANT = (
    # where a result is written and shown; the prompt pack counts by its contents
    *("output", "track", "prompts"),
    # the machines of the run, and how the policy's weights reach its sampler
    *("cluster", "rollouts.backend", "rollouts.url", "rollouts.server", "rollouts.gpus", "rollouts.weights"),
    *("rollouts.tensor_parallel", "rollouts.memory_fraction"),
    # how often a run is saved, and the bounds that stop it
    *("distill.save_steps", "rlvr.save_steps", "rlvr.guard"),
    # the prices of the oracles, and how they are reached; a run that spent its budget goes on with a larger one
    *("oracle.max_usd", "oracle.max_tokens_total", "oracle.attempts", "oracle.may_lack"),
    *(
        f"oracle.{endpoint}.{key}"
        for endpoint in ("first", "second")
        for key in ("url", "listed", "api_key_env", "usd_per_million_input", "usd_per_million_output", "concurrency", "timeout_s")
    ),
)
#: Keys that no stage before this one reads.
FIRST_READ_BY: dict[str, Stage] = {
    "oracle": "chains",
    "model.attention": "distill",
    "model.gradient_checkpointing": "distill",
    "model.lora": "distill",
    "distill": "distill",
    "rlvr": "rlvr",
    "rollouts": "rlvr",
    "evaluate": "evaluate",
    "export": "export",
}
#: Besides, of a generated world: its tasks are not measured in a model's tokens.
FIRST_READ_IN_A_WORLD: dict[str, Stage] = {"model": "distill"}


def key_of(recipe: Recipe, stage: Stage) -> str:
    """Sixteen hex digits that name what decides the result of `stage`: its own settings, and those of the stages before it."""
    parts = [load_pack(recipe.prompts).digest, sorted(decisive(recipe, stage).items())]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def decisive(recipe: Recipe, stage: Stage) -> dict[str, Any]:
    """The values of `recipe` that decide the result of `stage`, by their dotted keys."""
    stages = typing.get_args(Stage)
    first_read_by = FIRST_READ_BY | (FIRST_READ_IN_A_WORLD if recipe.world else {})
    later = [key for key, first in first_read_by.items() if stages.index(first) > stages.index(stage)]
    content = recipe.model_dump(mode="json", by_alias=True)
    return {key: value for key, value in _leaves(content) if not any(_within(key, table) for table in (*IRRELEVANT, *later))}


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested tables by their dotted keys. A list or an empty table is a value."""
    for name, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _within(key: str, table: str) -> bool:
    return key == table or key.startswith(f"{table}.")
