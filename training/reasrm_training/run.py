"""A whole run as one command that can be killed at any point: data, chains, both training stages, measurement, export.

`state.json` says which stages are done and what they were made from. Started again, a run skips those, goes on inside the one
that was broken off, and refuses to mix in a stage whose settings have changed since.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from reasrm.errors import ReasrmError, RecipeError, Refused
from reasrm.prompts import load_pack
from reasrm_training import policy
from reasrm_training.config import Recipe, Stage
from reasrm_training.data.examples import write_whole
from reasrm_training.environment import environment
from reasrm_training.needs import check_needs
from reasrm_training.plan import disk_bytes
from reasrm_training.progress import Display
from reasrm_training.recipes import FOLDER
from reasrm_training.report import Left, write_report
from reasrm_training.report.reading import RECIPE
from reasrm_training.stages import MODEL_STAGES, STAGES

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
    if policy.launched():
        state = policy.processes(recipe)
        with _reported(recipe.folder("data").parent) if state.is_main_process else nullcontext():
            for stage in wanted:
                if stage in MODEL_STAGES or state.is_main_process:
                    _do(recipe, stage, display if state.is_main_process else Display.silent())
                state.wait_for_everyone()
        return recipe.folder("data").parent
    with _locked(recipe.folder("data").parent):
        if restart:
            _forget(recipe, restart)
        display.begin(recipe, wanted)
        with _reported(recipe.folder("data").parent):
            for stage in wanted:
                if not only or not _is_done(recipe, stage):
                    _do(recipe, stage, display, distributed=stage in MODEL_STAGES and recipe.trainers > 1)
    return recipe.folder("data").parent


def check(recipe: Recipe, stages: Sequence[Stage]) -> None:
    """What can be known to fail in `stages` before anything is spent. Raises RecipeError or PromptPackError."""
    load_pack(recipe.prompts)
    check_needs(recipe, stages)
    if recipe.cluster.nodes > 1 and not policy.launched():
        raise RecipeError("cluster.nodes: start this on every node under accelerate; `reasrm train plan` prints the command")
    if recipe.model.scratch is None:
        policy.load_tokenizer(recipe)
    folder = _existing(recipe.folder("data"))
    needed, free = disk_bytes(recipe, *policy.parameter_counts(recipe)), shutil.disk_usage(folder).free
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


def _do(recipe: Recipe, stage: Stage, display: Display, *, distributed: bool = False) -> None:
    """Run one stage to its end, or see that it is done."""
    main = not policy.launched() or policy.processes(recipe).is_main_process
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
        result = _work(recipe, stage, display, distributed=distributed)
    except ReasrmError as stopped:
        note(stopped=str(stopped), environment=environment())
        raise
    seconds = time.monotonic() - started
    note(result=result, seconds=round(seconds, 1), environment=environment())
    display.done(stage, result, seconds)


def _work(recipe: Recipe, stage: Stage, display: Display, *, distributed: bool) -> str:
    """Do the stage, here or in processes of its own, and return what came of it."""
    if distributed:
        _launch(recipe, stage)
        return f"weights {policy.weights_digest(recipe.folder(stage) / 'model')}"
    return STAGES[stage](recipe, lambda done, total, text: display.tell(stage, done, total, text))


@contextmanager
def _reported(folder: Path) -> Iterator[None]:
    """Write the report of the run in `folder` at the end, however that comes about."""
    try:
        yield
    finally:
        if (folder / RECIPE).is_file():
            write_report(Left.at(folder))


def _launch(recipe: Recipe, stage: Stage) -> None:
    """Run a training stage in as many processes as the recipe has devices for it."""
    file = recipe.folder("data").parent / RECIPE
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(recipe.trainers)]
    if recipe.cluster.sharding != "none":
        command += ["--config_file", str(FOLDER / f"{recipe.cluster.sharding}.yaml")]
    else:
        command += ["--multi_gpu", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["-m", "reasrm_training.run", str(file), stage]
    if subprocess.run(command, check=False).returncode:
        raise Refused(f"the {stage} stage broke off; what it says stands above. The same command goes on from there")


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


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep a second run away from `folder`; the lock goes with the process, however that ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"another run is at work in {folder}") from None
        yield


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def main(file: str, *stages: str) -> None:
    """Entry of the processes that `run` launches: the recipe as JSON, and the stages to do."""
    recipe = Recipe.model_validate_json(Path(file).read_text(encoding="utf-8"))
    policy.quiet()
    run(recipe, Display.silent(), only=[stage for stage in recipe.stages if stage in stages])


if __name__ == "__main__":
    main(*sys.argv[1:])
