"""A whole run as one command that can be killed at any point: data, chains, both training stages, measurement, export.

`state.json` says which stages are done and what they were made from. Started again, a run skips those, goes on inside the
stage that was stopped, and refuses to mix in the result of a stage whose settings have changed since.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from reasrm.errors import ReasrmError, Refused
from reasrm.launch.guard import end_with_parent
from reasrm_training.config.recipe import Recipe
from reasrm_training.config.values import Stage
from reasrm_training.data.files import locked, write_whole
from reasrm_training.model import devices, libraries
from reasrm_training.model.loading import weights_digest
from reasrm_training.model.processes import launched, processes
from reasrm_training.report import RunFolder, write_report
from reasrm_training.report.run_folder import RECIPE
from reasrm_training.run.checks import check
from reasrm_training.run.environment import environment
from reasrm_training.run.launch import launch
from reasrm_training.run.progress import Display
from reasrm_training.run.stage_keys import key_of
from reasrm_training.run.stages import MODEL_STAGES, STAGES, show_latest
from reasrm_training.run.state import forget, is_done, note, read_state


def run(recipe: Recipe, display: Display, *, only: Sequence[Stage] = (), restart: Stage | None = None) -> Path:
    """Do the stages of `recipe` (or of `only`) that are not done, and return the run's folder.

    `restart` throws away that stage and those after it. Under a launcher of several processes (accelerate, torchrun) every
    process calls this: training stages run on all of them, the others on the main process. Raises RecipeError before the first
    step where something cannot work, and Refused where the folder holds another recipe's results or another run is at work.
    """
    stages: list[Stage] = [stage for stage in recipe.stages if not only or stage in only]
    check(recipe, stages)
    if launched():
        _run_with_others(recipe, stages, display, restart)
        return recipe.run_folder
    with locked(recipe.run_folder) as lock:
        if restart:
            forget(recipe, restart)
        display.begin(recipe, stages)
        with _reported(recipe.run_folder):
            for stage in stages:
                if not only or not is_done(recipe, stage):
                    _do(recipe, stage, display, lock=lock if stage in MODEL_STAGES and recipe.trainers > 1 else None)
    return recipe.run_folder


def _run_with_others(recipe: Recipe, stages: Sequence[Stage], display: Display, restart: Stage | None) -> None:
    """The part of this process in a run of several."""
    end_with_parent()
    state = processes(recipe)
    display = display if state.is_main_process else Display.silent()
    if restart and state.is_main_process:
        forget(recipe, restart)
    state.wait_for_everyone()
    display.begin(recipe, stages)
    with _reported(recipe.run_folder) if state.is_main_process else nullcontext():
        for stage in stages:
            if stage in MODEL_STAGES or state.is_main_process:
                _do(recipe, stage, display)
            state.wait_for_everyone()


def _do(recipe: Recipe, stage: Stage, display: Display, *, lock: int | None = None) -> None:
    """Do a stage, unless it is done. With a `lock` it launches the processes that train, which hold it."""
    main = not launched() or processes(recipe).is_main_process
    entry = read_state(recipe).get(stage)
    if entry and entry["key"] != key_of(recipe, stage):
        raise Refused(
            f"{recipe.folder(stage)} was made with other settings; --restart {stage} makes it again, or give another output"
        )
    if entry and "result" in entry:
        display.done(stage, entry["result"], entry["seconds"])
        return
    if main:
        note(recipe, stage)
        write_whole(recipe.run_folder / RECIPE, (recipe.model_dump_json(indent=2, by_alias=True) + "\n").encode())
    display.start(stage)
    started = time.monotonic()
    try:
        result = _work(recipe, stage, display, lock)
    except ReasrmError as error:
        if main:
            note(recipe, stage, stopped=str(error), environment=environment())
        raise
    seconds = time.monotonic() - started
    if main:
        note(recipe, stage, result=result, seconds=round(seconds, 1), environment=environment())
    display.done(stage, result, seconds)


def _work(recipe: Recipe, stage: Stage, display: Display, lock: int | None) -> str:
    """Do the stage and return one line about its result."""

    def show(done: int, total: int | None, note: str) -> None:
        display.show(stage, done, total, note)

    if lock is not None:
        launch(recipe, recipe.run_folder / RECIPE, stage, lock, lambda: show_latest(recipe, stage, show))
        return f"weights {weights_digest(recipe.folder(stage) / 'model')}"
    result = STAGES[stage](recipe, show)
    devices.release_memory()
    return result


@contextmanager
def _reported(folder: Path) -> Iterator[None]:
    """Write the report of the run in `folder` when the `with` ends, also by an error."""
    try:
        yield
    finally:
        if (folder / RECIPE).is_file():
            write_report(RunFolder.at(folder))


def main(file: str, *stages: str) -> None:
    """The entry of the processes that `run` launches: the recipe as JSON, and the stages to do."""
    recipe = Recipe.model_validate_json(Path(file).read_text(encoding="utf-8"))
    libraries.quiet()
    run(recipe, Display.silent(), only=[stage for stage in recipe.stages if stage in stages])


if __name__ == "__main__":
    main(*sys.argv[1:])
