"""The folder of a run, read back: the recipe, its stages, their numbers, the measurements, and judgments for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reasrm.errors import InputError
from reasrm_training.config.recipe import Recipe
from reasrm_training.config.values import Stage
from reasrm_training.data.examples import PreferenceExample, read_examples
from reasrm_training.data.step_log import StepLog
from reasrm_training.measure.evaluate import Evaluation

TRAINED: tuple[Stage, ...] = ("distill", "rlvr")
MEASURED = ("model", *TRAINED)  # the models that an evaluation may be of, in the order of their training
RECIPE = "recipe.json"
JUDGMENTS = "judgments.jsonl"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files that the run of `recipe` has written into `folder` so far. Any of them may be missing."""

    folder: Path
    recipe: Recipe

    @classmethod
    def of(cls, recipe: Recipe) -> RunFolder:
        """The folder in which the run of `recipe` writes."""
        return cls(recipe.run_folder, recipe)

    @classmethod
    def at(cls, folder: Path) -> RunFolder:
        """The run in `folder`, which may have been moved since. Raises InputError where there is none."""
        file = next((file for file in (folder / RECIPE, folder / "export" / RECIPE) if file.is_file()), None)
        if file is None:
            raise InputError(f"{folder}: no {RECIPE} there; give the folder of a run of reasrm train", field="folder")
        try:
            recipe = Recipe.model_validate_json(file.read_text(encoding="utf-8"))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(f"{file}: no recipe of this version: {where}: {first['msg']}", field="folder") from None
        return cls(folder, recipe.model_copy(update={"output": str(folder)}))

    @property
    def state(self) -> dict[str, dict[str, Any]]:
        """What is known of each stage: its `result` and `seconds`, or why it `stopped`."""
        file = self.folder / "state.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    @property
    def curves(self) -> dict[str, list[dict[str, Any]]]:
        """The rows that each training stage logged, where it logged any. Every row holds its `step`."""
        return {stage: rows for stage in TRAINED if (rows := StepLog(self.folder / stage / "metrics.jsonl").read())}

    @property
    def evaluations(self) -> dict[str, Evaluation]:
        """The measurements, in the order in which their models were trained."""
        files = {name: self.folder / "evaluate" / f"{name}.json" for name in MEASURED}
        return {
            name: Evaluation.model_validate_json(file.read_text(encoding="utf-8")) for name, file in files.items() if file.is_file()
        }

    @property
    def judged(self) -> dict[tuple[str, int | None], list[dict[str, Any]]]:
        """Judgments of held-out pairs by (stage, step): those made along the way, or for a stage without any those at its end
        (step None). The first round of a stage is left out where it repeats the end of the stage before it.
        """
        rounds: dict[tuple[str, int | None], list[dict[str, Any]]] = {}
        for stage in MEASURED:
            first = not rounds
            for row in StepLog(self.folder / stage / JUDGMENTS).read():
                if row["step"] or first:
                    rounds.setdefault((stage, row["step"]), []).append(row)
            replies = self.replies(stage)
            if replies and not any(name == stage for name, _ in rounds):
                rounds[stage, None] = replies
        return rounds

    def replies(self, name: str) -> list[dict[str, Any]]:
        """The greedy replies with which the model of a stage was measured."""
        return StepLog(self.folder / "evaluate" / f"{name}-replies.jsonl").read()

    @property
    def rollouts(self) -> list[dict[str, Any]]:
        """Some of the replies that RL sampled, with their rewards."""
        return StepLog(self.folder / "rlvr" / "samples.jsonl").read()

    def heldout(self, ids: Iterable[str]) -> dict[str, PreferenceExample]:
        """The held-out examples of these ids, by id."""
        file, names = self.folder / "data" / "heldout.jsonl", set(ids)
        return {example.id: example for example in read_examples(file) if example.id in names} if file.is_file() else {}

    @property
    def data_lines(self) -> Iterator[str]:
        """One line per source and per part of the data, from the manifests."""
        manifest = _json(self.folder / "data" / "manifest.json")
        if manifest:
            yield from (f"{source['name']}: {source['kept']:,} of {source['rows']:,} rows" for source in manifest["sources"])
            yield from (f"{part}: {report['rows']:,} pairs" for part, report in manifest["parts"].items())
        report = _json(self.folder / "chains" / "manifest.json")
        if report:
            kept = ", ".join(f"{count:,} from the {oracle} oracle" for oracle, count in report["kept"].items())
            yield f"chains: {kept or 'none'}, of {report['examples']:,} examples"


def recipe_text(recipe: Recipe) -> str:
    """Every value of `recipe` that differs from its default, except for the output folder."""
    return json.dumps(recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"output"}), indent=2)


def baselines(paths: Iterable[Path]) -> dict[str, Evaluation]:
    """Measurements of other runs by their names. Each path is a measurement as JSON, or a folder that holds some.

    Raises InputError where a path holds none.
    """
    evaluations: dict[str, Evaluation] = {}
    for path in paths:
        files = [path] if path.is_file() else sorted([*path.glob("*.json"), *path.glob("*/*.json")])
        named = {_name(file, path): read for file in files if (read := _evaluation(file)) is not None}
        if not named:
            raise InputError(f"{path}: no measurement of reasrm train there", field="baseline")
        evaluations |= named
    return evaluations


def _name(file: Path, path: Path) -> str:
    parts = file.with_suffix("").parts[len(path.parts) - 1 :] if path.is_dir() else (file.stem,)
    return "/".join(part for part in parts if part != "evaluate")


def _evaluation(file: Path) -> Evaluation | None:
    try:
        return Evaluation.model_validate_json(file.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError):
        return None


def _json(file: Path) -> Mapping[str, Any] | None:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
