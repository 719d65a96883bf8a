"""What a run leaves on disk, read back: the recipe, its stages, their numbers, the measurements, and judgments to be read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reasrm.errors import InputError
from reasrm_training.config.recipe import Recipe, Stage
from reasrm_training.data.examples import PreferenceExample, read_examples
from reasrm_training.measure.evaluate import Evaluation

TRAINED: tuple[Stage, ...] = ("distill", "rlvr")
MEASURED = ("model", *TRAINED)  # what an evaluation may be of, in the order of their training
RECIPE = "recipe.json"
JUDGMENTS = "judgments.jsonl"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """What the run of `recipe` has left in `folder` by now; any part may be missing."""

    folder: Path
    recipe: Recipe

    @classmethod
    def of(cls, recipe: Recipe) -> RunFolder:
        """What the run of `recipe` leaves where the recipe says."""
        return cls(recipe.folder("data").parent, recipe)

    @classmethod
    def at(cls, folder: Path) -> RunFolder:
        """What a run left in `folder`, which may have been moved. Raises InputError where there was none."""
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
        """The rows that each training stage logged, where it logged any; each holds its `step`."""
        return {stage: rows for stage in TRAINED if (rows := rows_of(self.folder / stage / "metrics.jsonl"))}

    @property
    def evaluations(self) -> dict[str, Evaluation]:
        """What was measured, in the order in which it was trained."""
        files = {name: self.folder / "evaluate" / f"{name}.json" for name in MEASURED}
        return {
            name: Evaluation.model_validate_json(file.read_text(encoding="utf-8")) for name, file in files.items() if file.is_file()
        }

    @property
    def judged(self) -> dict[tuple[str, int | None], list[dict[str, Any]]]:
        """Judgments of held-out pairs by (stage, step): those made along the way; of a stage without any, those at its end
        (step None). What a stage's first round would repeat of the stage before it is left out.
        """
        found: dict[tuple[str, int | None], list[dict[str, Any]]] = {}
        for stage in MEASURED:
            first = not found
            for row in rows_of(self.folder / stage / JUDGMENTS):
                if row["step"] or first:
                    found.setdefault((stage, row["step"]), []).append(row)
            replies = self.replies(stage)
            if replies and not any(name == stage for name, _ in found):
                found[stage, None] = replies
        return found

    def replies(self, name: str) -> list[dict[str, Any]]:
        """The greedy replies by which the model of a stage was measured."""
        return rows_of(self.folder / "evaluate" / f"{name}-replies.jsonl")

    @property
    def rollouts(self) -> list[dict[str, Any]]:
        """Some of the replies that RL sampled, with their rewards."""
        return rows_of(self.folder / "rlvr" / "samples.jsonl")

    def heldout(self, wanted: Iterable[str]) -> dict[str, PreferenceExample]:
        """The held-out examples of these ids."""
        file, ids = self.folder / "data" / "heldout.jsonl", set(wanted)
        return {example.id: example for example in read_examples(file) if example.id in ids} if file.is_file() else {}

    @property
    def data_lines(self) -> Iterator[str]:
        """One line a source and part of the data, as the manifests say."""
        manifest = _json(self.folder / "data" / "manifest.json")
        if manifest:
            yield from (f"{source['name']}: {source['kept']:,} of {source['rows']:,} rows" for source in manifest["sources"])
            yield from (f"{part}: {report['rows']:,} pairs" for part, report in manifest["parts"].items())
        report = _json(self.folder / "chains" / "manifest.json")
        if report:
            kept = ", ".join(f"{count:,} from the {oracle} oracle" for oracle, count in report["kept"].items())
            yield f"chains: {kept or 'none'}, of {report['examples']:,} examples"


def recipe_text(recipe: Recipe) -> str:
    """Every value that is no default, but not where the run was written."""
    return json.dumps(recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"output"}), indent=2)


def rows_of(file: Path) -> list[dict[str, Any]]:
    """Rows of JSON lines; one that a kill cut short is none."""
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.endswith("}")]


def baselines(paths: Iterable[Path]) -> dict[str, Evaluation]:
    """Measurements of other runs by their names: each path is one as JSON, or a folder that holds some.

    Raises InputError where a path holds none.
    """
    found: dict[str, Evaluation] = {}
    for path in paths:
        files = [path] if path.is_file() else sorted([*path.glob("*.json"), *path.glob("*/*.json")])
        named = {_name(file, path): read for file in files if (read := _evaluation(file)) is not None}
        if not named:
            raise InputError(f"{path}: no measurement of reasrm train there", field="baseline")
        found |= named
    return found


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
