"""`state.json`: which stages of a run are done, and what each was made from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from reasrm.errors import RecipeError
from reasrm_training.config.recipe import Recipe
from reasrm_training.config.values import Stage
from reasrm_training.data.files import write_whole
from reasrm_training.run.stage_keys import key_of


def read_state(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """What is known of each stage: its `key`, and its `result` and `seconds` or why it `stopped`."""
    file = _file(recipe)
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def note(recipe: Recipe, stage: Stage, **facts: Any) -> None:
    """Write what is known of `stage` by now, with the key of what decides it."""
    _write(recipe, read_state(recipe) | {stage: {"key": key_of(recipe, stage), **facts}})


def is_done(recipe: Recipe, stage: Stage) -> bool:
    """Whether `stage` has ended, with the settings that `recipe` has now."""
    entry = read_state(recipe).get(stage)
    return bool(entry and "result" in entry and entry["key"] == key_of(recipe, stage))


def forget(recipe: Recipe, first: Stage) -> None:
    """Throw away the results of `first` and of the stages after it. Raises RecipeError where the recipe has no such stage."""
    if first not in recipe.stages:
        raise RecipeError(f"{first}: this recipe has no such stage; it has {', '.join(recipe.stages)}")
    state = read_state(recipe)
    for stage in recipe.stages[recipe.stages.index(first) :]:
        state.pop(stage, None)
        shutil.rmtree(recipe.folder(stage), ignore_errors=True)
    _write(recipe, state)


def _write(recipe: Recipe, state: dict[str, dict[str, Any]]) -> None:
    write_whole(_file(recipe), (json.dumps(state, indent=2) + "\n").encode())


def _file(recipe: Recipe) -> Path:
    return recipe.run_folder / "state.json"
