"""A data set: reads its rows, recognises their schema, and turns each row into an `Example` or the reason why it is not one."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path

from reasrm.datasets.catalogue import BENCHMARK_SETS
from reasrm.datasets.example import Example
from reasrm.datasets.files import Record, rows
from reasrm.datasets.schema import NOT_USED, Schema
from reasrm.datasets.table import Table
from reasrm.datasets.values import Row
from reasrm.datasets.winners import WinnerValues
from reasrm.errors import InputError, SchemaError

SAMPLE = 64  # the first readable rows of a file decide its schema
MOST_UNREADABLE = 10_000  # the search for a schema ends after this many unreadable rows


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
    `winners` says what the values of a winner's column mean, as `winner_values_of` gives it.

    All files are of one schema, unless `together` names several that belong together, as a benchmark's parts do. A benchmark's row
    that an earlier file holds already is left out: some benchmarks publish their parts and a file of all parts.
    `tables` holds each file's table once its first rows are read.
    """

    source: str | Path
    schema: str | None = None
    mapping: Mapping[str, str] | None = None
    split: str | None = None
    together: tuple[str, ...] = ()
    config: str | None = None
    data_dir: str | None = None
    winners: WinnerValues | None = None
    tables: dict[str, Table] = field(default_factory=dict[str, Table])
    _columns: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    _repeated: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])

    @property
    def recognised(self) -> Schema | None:
        """The schema, once the first rows of a file are read (with parts that belong together, the last part's)."""
        return next((table.schema for table in reversed(self.tables.values())), None)

    @property
    def name(self) -> str:
        """The names of the schemas of the files read so far."""
        return " + ".join(sorted({table.schema.name for table in self.tables.values()}))

    def __iter__(self) -> Iterator[DataRow]:
        """Every row in order. Raises SchemaError where files are of different schemas, InputError where one cannot be read."""
        self.tables.clear()
        self._columns.clear()
        self._repeated.clear()
        first, index = None, 0
        earlier: dict[bytes, str] = {}
        records = rows(self.source, self.split, self.config, self.data_dir)
        for file, of_file in groupby(records, key=attrgetter("file")):
            sample = _sample(of_file)
            first = first or sample[0]
            readable = [record.row for record in sample if record.row is not None]
            if readable:
                self._add_table(Table.of(file, readable, self.schema, self.mapping, self.winners))
            for record in chain(sample, of_file):
                row = self._read(index, record)
                if row.example is not None and self._repeats(row.example, file, earlier):
                    continue
                yield row
                index += 1
        if first is None:
            raise SchemaError(f"{self.source}: {f'split {self.split!r} ' if self.split else ''}is empty")
        if not self.tables:
            raise SchemaError(f"{self.source}: holds no row that can be read; row {first.number}: {first.error}")

    def _add_table(self, table: Table) -> None:
        schema = table.schema
        if self.together and schema.name not in self.together:
            raise SchemaError(f"{table.file} is {schema.name}, where {' or '.join(self.together)} is needed")
        for file, other in self.tables.items():
            if other.schema is not schema and not self.together:
                raise SchemaError(
                    f"mixed schemas: {file} is {other.schema.name}, {table.file} is {schema.name}; "
                    "read them one by one, or name one schema for all with --schema"
                )
        self.tables[table.file] = table
        self._columns[table.file] = set()

    def _read(self, index: int, record: Record) -> DataRow:
        if record.row is None:
            return DataRow(index, record.file, record.number, {}, None, record.error)
        table = self.tables.get(record.file)
        if table is None:
            return DataRow(index, record.file, record.number, record.row, None, "no row before this one shows the file's schema")
        columns = self._columns[record.file]
        row = table.row(record.row)
        columns.update(column for column in row.keys() - columns if row[column] is not None and row[column] != "")
        try:
            return DataRow(index, record.file, record.number, row, table.read(row))
        except InputError as error:
            return DataRow(index, record.file, record.number, row, None, str(error))

    def _repeats(self, example: Example, file: str, earlier: dict[bytes, str]) -> bool:
        """Whether an earlier file of a benchmark holds this row, perhaps under another id."""
        if self.tables[file].schema.name not in BENCHMARK_SETS:
            return False
        subset = example.subset.partition("-")[0]  # RM-Bench's two safety files are one domain in its sum
        contents = example.model_copy(update={"id": "", "subset": subset}).model_dump_json()
        digest = hashlib.blake2b(contents.encode(), digest_size=16).digest()
        before = earlier.setdefault(digest, file)
        if before == file:
            return False
        self._repeated[before, file] += 1
        return True

    @property
    def notes(self) -> list[str]:
        """Notes for people after reading: which column was read as what, which columns were ignored, which rows were left out."""
        read: dict[str, dict[str, None]] = {}
        unread: set[str] = set()
        for file, table in self.tables.items():
            reads, present = table.schema.reads, self._columns[file]
            unread |= present - reads.keys()
            for column in (column for column in reads if column in present):
                read.setdefault(reads[column], {})[table.column(column)] = None
        read.pop(NOT_USED, None)
        notes = ["read: " + "; ".join(f"{part} from {' and '.join(columns)}" for part, columns in read.items())] if read else []
        notes += [f"columns that are not read: {', '.join(sorted(unread))}"] if unread else []
        notes += dict.fromkeys(note for table in self.tables.values() for note in table.notes)
        for (before, file), count in self._repeated.items():
            notes.append(f"{file}: left out, since {before} holds them too: {count:,} of its rows")
        return notes


def _sample(records: Iterable[Record]) -> list[Record]:
    """The first records of a file, with enough readable ones to decide its schema."""
    sample: list[Record] = []
    readable = 0
    for record in records:
        sample.append(record)
        readable += record.row is not None
        if readable == SAMPLE or len(sample) == MOST_UNREADABLE:
            break
    return sample


def read_examples(
    source: str | Path, *, schema: str | None = None, mapping: Mapping[str, str] | None = None, split: str | None = None
) -> Iterator[Example]:
    """The examples of a data set whose every row must be good. Raises InputError, which names file and row."""
    for row in DataSet(source, schema, mapping, split):
        if row.example is None:
            raise InputError(f"{row.where}: {row.error}")
        yield row.example
