"""Rows of a source: opened by the `datasets` library, read by the schema that its columns fit."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasrm import datasets as schemas
from reasrm.errors import InputError, RecipeError, SchemaError
from reasrm_training.config import Source
from reasrm_training.data.examples import Example, text_of

#: Told what is being done, how many of it are done, and of how many, where that is known.
Progress = Callable[[str, int, int | None], None]

_BUILDERS = {".jsonl": "json", ".json": "json", ".ndjson": "json", ".csv": "csv", ".parquet": "parquet", ".arrow": "arrow"}


@dataclass(frozen=True, slots=True)
class Rows:
    """A source's usable rows, in its order; `unusable` counts the others by reason. `sha256` is over all rows as read."""

    schema: str
    count: int
    examples: list[Example]
    unusable: Counter[str]
    sha256: str


def read_source(source: Source, progress: Progress) -> Rows:
    """Read every row of `source`.

    Raises RecipeError and SchemaError, which name the source: it cannot be opened, is empty, lacks a column, or says of a row
    something that names no side.
    """
    table = _open(source)
    schema = _schema(source, table)
    hasher = hashlib.sha256()
    examples: list[Example] = []
    unusable: Counter[str] = Counter()
    for index, raw in enumerate(table):
        row = schemas.renamed(raw, _renaming(source))
        hasher.update(json.dumps(raw, sort_keys=True, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass") + b"\n")
        try:
            found = schema.read(row)
        except InputError as error:
            if error.field == "winner":
                raise SchemaError(f"{source.path}, row {index}: {error}") from None
            unusable["unreadable"] += 1
            continue
        if not found.is_pair or found.winner is None:
            unusable["no_winner" if found.is_pair else "not_a_pair"] += 1
        else:
            examples.append(_example(found, f"{source.label}/{found.id or index}", source.label))
        if index % 1000 == 999:
            progress(f"{source.label}: reading", index + 1, len(table))
    return Rows(schema.name, len(table), _scaled(examples), unusable, hasher.hexdigest())


def read_questions(path: str) -> Iterator[str]:
    """The questions of a benchmark: a file or a folder of files. Raises RecipeError where there is none."""
    where = Path(path)
    files = sorted(file for file in where.rglob("*") if file.suffix in _BUILDERS) if where.is_dir() else [where]
    found = 0
    for file in files:
        source = Source(path=str(file))
        table = _open(source)
        schema = _schema(source, table)
        for raw in table:
            found += 1
            yield text_of(schema.read(raw).question)
    if not found:
        raise RecipeError(f"data.benchmarks: {path} holds no rows")


def _example(found: schemas.Example, name: str, source: str) -> Example:
    winner = found.winner
    if winner is None:
        raise ValueError(f"{name} has no winner")
    a, b = found.responses
    return Example(
        id=name,
        source=source,
        question=found.question,
        a=a,
        b=b,
        winner=winner,
        subset=found.subset,
        strength=found.strength,
    )


def _scaled(examples: list[Example]) -> list[Example]:
    """Strengths as shares of the source's greatest: sources use scales of their own."""
    most = max((example.strength for example in examples if example.strength), default=None)
    if most is None:
        return examples
    return [e if e.strength is None else e.model_copy(update={"strength": round(e.strength / most, 6)}) for e in examples]


def _renaming(source: Source) -> Mapping[str, str]:
    """The recipe says what a known column is called here; readers want it the other way round."""
    return {column: known for known, column in source.columns.items()}


def _schema(source: Source, table: Any) -> schemas.Schema:
    renaming = _renaming(source)
    for column in renaming:
        if column not in table.column_names:
            raise SchemaError(f"{source.path}: has no column {column!r}; it has {', '.join(table.column_names)}")
    try:
        if source.schema_:
            schema = schemas.schema_named(source.schema_)
            columns = set(schemas.renamed(dict.fromkeys(table.column_names), renaming))
            if missing := sorted(schema.columns - columns):
                raise SchemaError(f"the column {missing[0]!r} of schema {schema.name} is missing")
            return schema
        first = schemas.renamed(table[0], renaming)
        return schemas.recognise(first, first)
    except SchemaError as error:
        advice = str(error).replace("choose with --schema NAME", "choose by schema = NAME in the source")
        raise SchemaError(f"{source.path}: {advice}") from None


def _open(source: Source) -> Any:
    """The source as a table of `datasets`. Raises RecipeError where it cannot be opened or is empty."""
    import datasets

    path = Path(source.path)
    suffixes = [suffix for suffix in path.suffixes if suffix not in (".gz", ".zst")]
    try:
        if path.is_file():
            builder = _BUILDERS.get(suffixes[-1] if suffixes else "")
            if builder is None:
                raise RecipeError(f"{source.path}: not a file of rows; it should be one of {', '.join(_BUILDERS)}")
            table: Any = datasets.load_dataset(builder, data_files=str(path), split="train")
        elif (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
            table = datasets.load_from_disk(str(path))
            table = table[source.split] if isinstance(table, datasets.DatasetDict) else table
        else:
            table = datasets.load_dataset(source.path, source.config, split=source.split, revision=source.revision)
    except RecipeError:
        raise
    except Exception as error:  # the library raises all kinds for what is one thing to the user
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise RecipeError(f"{source.path}: cannot be opened: {said[0]}") from None
    if len(table) == 0:
        raise RecipeError(f"{source.path}: split {source.split!r} is empty")
    return table
