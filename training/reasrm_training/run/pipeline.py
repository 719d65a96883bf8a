"""A whole run as one command that can be killed at any point: data, chains, both training stages, measurement, export.

`state.json` says which stages are done and what they were made from. Started again, a run skips those, goes on inside the one
that was broken off, and refuses to mix in a stage whose settings have changed since.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from reasrm.errors import ReasrmError, RecipeError, Refused
from reasrm.prompts import load_pack
from reasrm_training.config.recipe import Recipe, Stage
from reasrm_training.data.examples import locked, write_whole
from reasrm_training.model import devices, loading
from reasrm_training.plan.plan import disk_bytes
from reasrm_training.plan.requirements import check_needs
from reasrm_training.report import RunFolder, write_report
from reasrm_training.report.history import RECIPE
from reasrm_training.run.environment import environment
from reasrm_training.run.launching import end_with_parent, launch
from reasrm_training.run.progress import Display
from reasrm_training.run.stages import MODEL_STAGES, STAGES, tell_latest

#: What each stage adds to what its result depends on; it depends on what came before it too.
_DECIDED_BY: dict[Stage, tuple[str, ...]] = {
    "data": ("seed", "data", "world"),
    "chains": ("oracle",),
    "distill": ("model", "distill"),
    "rlvr": ("model", "rlvr"),
    "evaluate": ("evaluate",),
    "export": ("export",),
}


def run(recipe: Recipe, display: Display, *, only: Sequence[Stage] = (), restart: Stage | None = None) -> Path:
    """Do what is left of `recipe`'s stages (or of `only`) and return the run's folder.

    `restart` throws away that stage and those after it. Under a launcher of several processes (accelerate, torchrun) every
    process calls this: training stages run on all, the others on the main one. Raises RecipeError before the first step
    where something cannot work, and Refused where the folder holds another recipe's results or another run is at it.
    """
    wanted: list[Stage] = [stage for stage in recipe.stages if not only or stage in only]
    check(recipe, wanted)
    folder = recipe.folder("data").parent
    if loading.launched():
        end_with_parent()
        state = loading.processes(recipe)
        display = display if state.is_main_process else Display.silent()
        if restart and state.is_main_process:
            _forget(recipe, restart)
        state.wait_for_everyone()
        display.begin(recipe, wanted)
        with _reported(folder) if state.is_main_process else nullcontext():
            for stage in wanted:
                if stage in MODEL_STAGES or state.is_main_process:
                    _do(recipe, stage, display)
                state.wait_for_everyone()
        return folder
    with locked(folder) as lock:
        if restart:
            _forget(recipe, restart)
        display.begin(recipe, wanted)
        with _reported(folder):
            for stage in wanted:
                if not only or not _is_done(recipe, stage):
                    _do(recipe, stage, display, launched_with=lock if stage in MODEL_STAGES and recipe.trainers > 1 else None)
    return folder


def check(recipe: Recipe, stages: Sequence[Stage]) -> None:
    """What can be known to fail in `stages` before anything is spent. Raises RecipeError or PromptPackError."""
    load_pack(recipe.prompts)
    check_needs(recipe, stages)
    if recipe.cluster.nodes > 1 and not loading.launched():
        raise RecipeError("cluster.nodes: start this on every node under accelerate; `reasrm train plan` prints the command")
    if recipe.model.scratch is None:
        loading.load_tokenizer(recipe)
    folder = _existing(recipe.folder("data"))
    needed, free = disk_bytes(recipe, *loading.parameter_counts(recipe)), shutil.disk_usage(folder).free
    if needed > free:
        raise RecipeError(
            f"output: this run writes up to {needed / 1e9:,.1f} GB (models and checkpoints), "
            f"and {free / 1e9:,.1f} GB are free at {folder}"
        )


def key_of(recipe: Recipe, stage: Stage) -> str:
    """Sixteen hex digits that name what decides the result of `stage`; where it runs and is tracked does not."""
    # Neither when it is saved nor what would have stopped it changes what came out.
    aside = {"distill": {"save_steps"}, "rlvr": {"save_steps", "guard"}}
    content = recipe.model_dump(mode="json", by_alias=True, exclude=aside)
    before = recipe.stages[: recipe.stages.index(stage) + 1]
    parts = [load_pack(recipe.prompts).digest, [[name, [content[key] for key in _DECIDED_BY[name]]] for name in before]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _do(recipe: Recipe, stage: Stage, display: Display, *, launched_with: int | None = None) -> None:
    """Run one stage to its end, here or in processes launched with the run's lock, or see that it is done."""
    main = not loading.launched() or loading.processes(recipe).is_main_process
    state = _read_state(recipe)
    entry, key = state.get(stage), key_of(recipe, stage)
    if entry and entry["key"] != key:
        raise Refused(f"{recipe.folder(stage)} was made by other settings; --restart {stage} makes it anew, or give another output")
    if entry and "result" in entry:
        display.done(stage, entry["result"], entry["seconds"])
        return

    def note(**facts: Any) -> None:
        if main:
            _write_state(recipe, _read_state(recipe) | {stage: {"key": key, **facts}})

    note()
    if main:
        write_whole(recipe.folder("data").parent / RECIPE, (recipe.model_dump_json(indent=2, by_alias=True) + "\n").encode())
    display.start(stage)
    started = time.monotonic()
    try:
        result = _work(recipe, stage, display, launched_with)
    except ReasrmError as stopped:
        note(stopped=str(stopped), environment=environment())
        raise
    seconds = time.monotonic() - started
    note(result=result, seconds=round(seconds, 1), environment=environment())
    display.done(stage, result, seconds)


def _work(recipe: Recipe, stage: Stage, display: Display, launched_with: int | None) -> str:
    """Do the stage and return what came of it."""

    def tell(done: int, total: int | None, text: str) -> None:
        display.tell(stage, done, total, text)

    if launched_with is not None:
        launch(recipe, recipe.folder("data").parent / RECIPE, stage, launched_with, lambda: tell_latest(recipe, stage, tell))
        return f"weights {loading.weights_digest(recipe.folder(stage) / 'model')}"
    result = STAGES[stage](recipe, tell)
    devices.release_memory()
    return result


@contextmanager
def _reported(folder: Path) -> Iterator[None]:
    """Write the report of the run in `folder` at the end, however that comes about."""
    try:
        yield
    finally:
        if (folder / RECIPE).is_file():
            write_report(RunFolder.at(folder))


def _is_done(recipe: Recipe, stage: Stage) -> bool:
    entry = _read_state(recipe).get(stage)
    return bool(entry and "result" in entry and entry["key"] == key_of(recipe, stage))


def _forget(recipe: Recipe, first: Stage) -> None:
    """Throw away the results of `first` and of the stages after it."""
    if first not in recipe.stages:
        raise RecipeError(f"{first}: this recipe has no such stage; it has {', '.join(recipe.stages)}")
    state = _read_state(recipe)
    for stage in recipe.stages[recipe.stages.index(first) :]:
        state.pop(stage, None)
        shutil.rmtree(recipe.folder(stage), ignore_errors=True)
    _write_state(recipe, state)


def _read_state(recipe: Recipe) -> dict[str, Any]:
    file = recipe.folder("data").parent / "state.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def _write_state(recipe: Recipe, state: dict[str, Any]) -> None:
    write_whole(recipe.folder("data").parent / "state.json", (json.dumps(state, indent=2) + "\n").encode())


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def main(file: str, *stages: str) -> None:
    """Entry of the processes that `run` launches: the recipe as JSON, and the stages to do."""
    recipe = Recipe.model_validate_json(Path(file).read_text(encoding="utf-8"))
    loading.quiet()
    run(recipe, Display.silent(), only=[stage for stage in recipe.stages if stage in stages])


if __name__ == "__main__":
    main(*sys.argv[1:])
