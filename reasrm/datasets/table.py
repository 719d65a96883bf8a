"""How one file's rows are read: its schema, the names of its columns, the meaning of the numbers in its winner column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reasrm.datasets.catalogue import schema_named
from reasrm.datasets.example import Example
from reasrm.datasets.recognition import prompt_mapping, recognise, renamed
from reasrm.datasets.schema import Schema
from reasrm.datasets.values import Row
from reasrm.datasets.winners import HOW, WinnerValues, folded, in_words, values_in
from reasrm.errors import SchemaError

WINNER = "winner"


@dataclass(frozen=True, slots=True)
class Table:
    """How one file is read. `mapping`: {column: known name}; `winners`: the meaning of the values in the winner column.

    `notes` tell people the guesses that were made from the rows.
    """

    file: str
    schema: Schema
    mapping: Mapping[str, str]
    winners: WinnerValues | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        file: str,
        sample: Sequence[Row],
        schema: str | None = None,
        mapping: Mapping[str, str] | None = None,
        winners: WinnerValues | None = None,
    ) -> Table:
        """The table of `file`, recognised from some rows (`sample`); the caller's arguments take precedence. Raises SchemaError."""
        mapping = dict(mapping or {})
        notes: list[str] = []
        _check_columns(file, sample, mapping)
        rows = [renamed(row, mapping) for row in sample]
        try:
            chosen = schema_named(schema) if schema else recognise(rows)
        except SchemaError as error:
            guess = {} if schema else prompt_mapping(rows)
            if not guess:
                raise SchemaError(f"{file}: {error}", field=error.field) from error
            rows = [renamed(row, guess) for row in rows]
            mapping |= guess
            chosen = recognise(rows)
        _check_mapping(file, chosen, mapping)
        if winners is None and WINNER in chosen.reads:
            winners = values_in(rows, WINNER)
            notes += [f"{WINNER}: {in_words(winners)}; if that is wrong, {HOW}"] if winners else []
        elif winners is not None and WINNER not in chosen.reads:
            raise SchemaError(f"{file}: {chosen.name} has no column {WINNER} whose values could be named", field="winner_values")
        return cls(file, chosen, mapping, winners, tuple(notes))

    def row(self, row: Row) -> Row:
        """`row` with the schema's names for its columns and its winner. NaN (pandas' missing value) becomes null."""
        row = renamed(row, self.mapping)
        if any(isinstance(value, float) and math.isnan(value) for value in row.values()):
            row = {column: None if isinstance(value, float) and math.isnan(value) else value for column, value in row.items()}
        if not self.winners or WINNER not in self.schema.reads or row.get(WINNER) is None:
            return row
        return {**row, WINNER: self.winners.get(folded(row[WINNER]), row[WINNER])}

    def read(self, row: Row) -> Example:
        """A row that `row` returned, as an example. Raises InputError."""
        return self.schema.read(row, self.file)

    def column(self, name: str) -> str:
        """The file's own name for the schema's column `name`."""
        return next((column for column, mapped in self.mapping.items() if mapped == name), name)


def _check_columns(file: str, sample: Sequence[Row], mapping: Mapping[str, str]) -> None:
    columns = list(dict.fromkeys(column for row in sample for column in row))
    for column in mapping:
        if column not in columns:
            raise SchemaError(f"{file}: has no column {column!r} to map; it has {', '.join(columns)}", field="map")


def _check_mapping(file: str, schema: Schema, mapping: Mapping[str, str]) -> None:
    for name in mapping.values():
        if name not in schema.reads:
            listed = ", ".join(sorted(schema.reads))
            raise SchemaError(f"{file}: {schema.name} has no {name!r} to map a column to; it has {listed}", field="map")
