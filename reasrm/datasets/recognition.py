"""Recognises the schema of a table from several of its rows, and maps its columns to the schema's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reasrm.datasets.catalogue import GENERAL, PUBLISHED, SCHEMAS
from reasrm.datasets.schema import Schema
from reasrm.datasets.values import Row
from reasrm.errors import InputError, SchemaError

#: Other names of a preference row's prompt, tried if no schema fits otherwise.
PROMPT_NAMES = ("instruction", "question", "conversations", "query")


def recognise(rows: Sequence[Row]) -> Schema:
    """The schema of `rows`, a sample of a table. Rows that fit a schema outvote rows that fit none.

    Of several schemas that fit, the one whose columns include the others' wins, and a published one wins over a general one.
    Raises SchemaError, which lists the choice.
    """
    columns = _columns_of(rows)
    within = [schema for schema in SCHEMAS.values() if schema.columns <= columns]
    fitting = {schema.name: sum(schema.suits(row) for row in rows) for schema in within}
    most = max(fitting.values(), default=0)
    # Half of the maximum: a column that only a few rows have, or only a few rows lack, does not decide.
    candidates = [schema for schema in within if most and 2 * fitting[schema.name] >= most]
    if not candidates and not any(schema.holds(row) for schema in within for row in rows):
        candidates = _knowing_most(within, columns)
    best = _most_specific([schema for schema in candidates if schema.name in PUBLISHED])
    best = best or _most_specific([schema for schema in candidates if schema.name in GENERAL])
    if len(best) == 1:
        return best[0]
    listed = ", ".join(sorted(columns)) or "none"
    if best:
        choice = ", ".join(schema.name for schema in best)
        raise SchemaError(f"the columns ({listed}) fit several schemas: {choice}; choose with --schema NAME")
    nearest = max(SCHEMAS.values(), key=lambda schema: len(schema.columns & columns) / len(schema.columns))
    lacking = ", ".join(sorted(nearest.columns - columns)) or "rows of its kind"
    raise SchemaError(
        f"the columns ({listed}) fit no schema. Name yours with --map, for instance --map question=prompt,a=good,b=bad "
        f"or --map prompt=text,chosen=good,rejected=bad. (Nearest: {nearest.name}, which also needs {lacking})"
    )


def _columns_of(rows: Sequence[Row]) -> frozenset[str]:
    return frozenset(column for row in rows for column in row)


def _knowing_most(schemas: Sequence[Schema], columns: frozenset[str]) -> list[Schema]:
    """If every row lacks something: the schemas that know most of the columns, so that each row's error says what it lacks."""
    counts = [len(columns & schema.reads.keys()) for schema in schemas]
    return [schema for schema, count in zip(schemas, counts, strict=True) if count == max(counts)]


def _most_specific(schemas: Sequence[Schema]) -> list[Schema]:
    return [schema for schema in schemas if not any(schema.columns < other.columns for other in schemas)]


def prompt_mapping(rows: Sequence[Row]) -> dict[str, str]:
    """The mapping from another name of the prompt to `prompt`; empty if the table has none of those names."""
    columns = _columns_of(rows)
    if "prompt" in columns or not {"chosen", "rejected"} <= columns:
        return {}
    name = next((name for name in PROMPT_NAMES if name in columns), None)
    return {} if name is None else {name: "prompt"}


def mapping_of(text: str) -> dict[str, str]:
    """`chosen=good,rejected=bad` as {"good": "chosen", "bad": "rejected"}: from the column's name to the schema's name."""
    mapping: dict[str, str] = {}
    for part in text.split(","):
        name, equals, column = (side.strip() for side in part.partition("="))
        if not (name and equals and column) or column in mapping:
            raise InputError(f"--map takes NAME=COLUMN,NAME=COLUMN, each column once, not {text!r}", field="map")
        mapping[column] = name
    return mapping


def renamed(row: Row, mapping: Mapping[str, str]) -> Row:
    """`row` with its columns renamed by `mapping`. A column that already has a new name is dropped."""
    if not mapping:
        return row
    hidden = set(mapping.values())
    kept = {column: value for column, value in row.items() if column not in mapping and column not in hidden}
    return kept | {name: row.get(column) for column, name in mapping.items()}
