"""The built-in recipes, and how any recipe is read: from TOML into a `Recipe`, or one line per mistake.

A file may say `extends = "name or file"` and then give only what differs.
"""

from __future__ import annotations

import difflib
import tomllib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from reasrm.errors import RecipeError
from reasrm_training.config.recipe import Recipe

FOLDER = Path(__file__).parent


def built_in_recipes() -> list[str]:
    """The names that `load_recipe` knows without a file."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_recipe(name_or_file: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a built-in recipe or a TOML file, changed by `overrides`: `dotted.key=value`, a TOML value or a bare word.

    Raises RecipeError with one line per mistake, each with the file and the key.
    """
    path, raw = _read(name_or_file)
    for override in overrides:
        _override(raw, override)
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        problems = error.errors()
        # A sequence whose items are wrong is also reported as too short; only the items are the caller's mistake.
        wrong = {problem["loc"][:depth] for problem in problems for depth in range(len(problem["loc"]))}
        shown = [problem for problem in problems if problem["type"] != "too_short" or problem["loc"] not in wrong]
        raise RecipeError("\n".join(f"{path.name}: {_explain(problem)}" for problem in shown)) from None


def _read(name_or_file: str | Path, seen: tuple[Path, ...] = ()) -> tuple[Path, dict[str, Any]]:
    """The file, and its keys merged into those of the recipe that it extends."""
    path = Path(name_or_file)
    if path.suffix != ".toml" and not path.is_file():
        path = FOLDER / f"{name_or_file}.toml"
    if path in seen:
        raise RecipeError(f"{path.name}: extends itself, through {' -> '.join(file.name for file in seen)}")
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        known = ", ".join(built_in_recipes())
        raise RecipeError(f"{name_or_file}: no such recipe; give a .toml file or one of {known}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path.name}: not valid TOML: {error}") from None
    base = raw.pop("extends", None)
    if base is not None:
        if not isinstance(base, str):
            raise RecipeError(f"{path.name}: extends: a recipe's name or file, not {base!r}")
        raw = _merged(_read(base, (*seen, path))[1], raw)
    return path, raw


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """The values of `over` in place of those of `base`, table by table. `false` in place of a table removes it."""
    out = base | over
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            out[key] = _merged(base[key], value)
        elif value is False and isinstance(base.get(key), dict):
            del out[key]
    return out


def _override(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set {override}: expected dotted.key=value, as in rlvr.steps=40")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *parents, leaf = key.strip().split(".")
    table = raw
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise RecipeError(f"--set {override}: {parent} is not a table")
    table[leaf] = value


def _explain(problem: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in problem["loc"] if part != "[key]")
    match problem["type"]:
        case "extra_forbidden":
            *parents, key = problem["loc"]
            near = difflib.get_close_matches(str(key), _keys_at(parents), n=1)
            return f"{where}: unknown key" + (f"; did you mean {near[0]}?" if near else "")
        case "missing":
            return f"{where}: missing"
        case "value_error":
            return (f"{where}: " if where else "") + str(problem["ctx"]["error"])
        case _:
            return f"{where}: {problem['msg'][0].lower()}{problem['msg'][1:]}, not {problem['input']!r}"


def _keys_at(parents: Iterable[Any]) -> list[str]:
    """The keys of the table at a path of a recipe."""
    table: type[BaseModel] = Recipe
    for part in parents:
        if isinstance(part, str) and (nested := _table_in(table, part)):
            table = nested
    return [field.alias or name for name, field in table.model_fields.items()]


def _table_in(table: type[BaseModel], key: str) -> type[BaseModel] | None:
    field = table.model_fields.get(key)
    pending = [field.annotation] if field else []
    while pending:
        annotation = pending.pop()
        pending.extend(parts := typing.get_args(annotation))
        if not parts and isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return annotation
    return None
