"""A data set from end to end: rows found, their schema recognised, each read into an `Example` or into the reason why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reasrm.datasets.example import Example
from reasrm.datasets.files import Record, rows
from reasrm.datasets.schema import Schema, recognise, renamed, schema_named
from reasrm.datasets.values import Row
from reasrm.errors import InputError, SchemaError


@dataclass(frozen=True, slots=True)
class DataRow:
    """A row of a data set: its place in the whole (from 0), in its file (from 1), and the example or the `error`."""

    index: int
    file: str
    number: int
    row: Row
    example: Example | None
    error: str = ""

    @property
    def where(self) -> str:
        """File and row, for messages."""
        return f"{self.file}, row {self.number}"

    @property
    def id(self) -> str:
        """The row's own id, or its place in its file."""
        return self.example.id if self.example is not None and self.example.id else str(self.number)


@dataclass(slots=True)
class DataSet:
    """A file, folder or hub id as examples. `schema`: a name, or None to recognise it; `mapping`: {column: known name}.

    `split`, `config` and `data_dir` choose a part of a data set that has several, the last two on the hub only.

    All files are of one schema, unless `together` names several that belong together, as a benchmark's parts do.
    `schemas` holds each file's schema once its first row was read.
    """

    source: str | Path
    schema: str | None = None
    mapping: Mapping[str, str] | None = None
    split: str | None = None
    together: tuple[str, ...] = ()
    config: str | None = None
    data_dir: str | None = None
    schemas: dict[str, Schema] = field(default_factory=dict[str, Schema])

    @property
    def recognised(self) -> Schema | None:
        """The schema, once the first row was read (of parts that belong together, the last one's)."""
        return next(reversed(self.schemas.values()), None)

    @property
    def name(self) -> str:
        """The schemas' names, as far as files were read."""
        return " + ".join(sorted({schema.name for schema in self.schemas.values()}))

    def __iter__(self) -> Iterator[DataRow]:
        """Every row in order. Raises SchemaError where files are of different schemas, InputError where one cannot be read."""
        self.schemas.clear()
        first = None
        for index, record in enumerate(rows(self.source, self.split, self.config, self.data_dir)):
            first = first or record
            row = None
            if record.row is not None:
                row = renamed(record.row, self.mapping or {})
                if record.file not in self.schemas:
                    self._check_mapping(record)
                    self.schemas[record.file] = self._recognise(record, row)
            yield self._entry(index, record, row)
        if first is None:
            raise SchemaError(f"{self.source}: {f'split {self.split!r} ' if self.split else ''}is empty")
        if not self.schemas:
            raise SchemaError(f"{self.source}: holds no row that can be read; row {first.number}: {first.error}")

    def _check_mapping(self, record: Record) -> None:
        columns = (record.row or {}).keys()
        for column in self.mapping or {}:
            if column not in columns:
                raise SchemaError(f"{record.file}: has no column {column!r} to map; it has {', '.join(columns)}", field="map")

    def _recognise(self, record: Record, row: Row) -> Schema:
        try:
            schema = schema_named(self.schema) if self.schema else recognise(row.keys(), row)
        except SchemaError as error:
            raise SchemaError(f"{record.file}: {error}") from error
        for known in (self.mapping or {}).values():
            if known not in (reads := schema.columns | schema.optional):
                listed = ", ".join(sorted(reads))
                raise SchemaError(f"{record.file}: {schema.name} has no {known!r} to map a column to; it has {listed}", field="map")
        if self.together and schema.name not in self.together:
            raise SchemaError(f"{record.file} is {schema.name}, where {' or '.join(self.together)} is needed")
        for file, other in self.schemas.items():
            if other != schema and not self.together:
                raise SchemaError(
                    f"mixed schemas: {file} is {other.name}, {record.file} is {schema.name}; give them apart, or --schema for all"
                )
        return schema

    def _entry(self, index: int, record: Record, row: Row | None) -> DataRow:
        if row is None:
            return DataRow(index, record.file, record.number, {}, None, record.error)
        try:
            example = self.schemas[record.file].read(row, record.file)
        except InputError as error:
            return DataRow(index, record.file, record.number, row, None, str(error))
        return DataRow(index, record.file, record.number, row, example)


def read_examples(
    source: str | Path, *, schema: str | None = None, mapping: Mapping[str, str] | None = None, split: str | None = None
) -> Iterator[Example]:
    """The examples of a data set whose every row must be good. Raises InputError, which names file and row."""
    for entry in DataSet(source, schema, mapping, split):
        if entry.example is None:
            raise InputError(f"{entry.where}: {entry.error}")
        yield entry.example
