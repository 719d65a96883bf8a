"""Rows out of files, streamed: JSON lines, JSON, CSV, Parquet and Arrow, plain or compressed; folders; Hugging Face data sets.

All formats but JSON and CSV need `reasrm[data]`, which is imported at its first use.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

from pydantic_core import from_json

from reasrm.datasets.values import Row
from reasrm.errors import InputError

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # a byte that is not UTF-8 is decoded to this
MOST_PYTHON_JSON = 2**28  # bytes; an array up to this size is read whole if it is not strict JSON
_BATCH = 256  # rows of a columnar file in memory at once


@dataclass(frozen=True, slots=True)
class Record:
    """One row as it stands in its file: `number` counts from 1. A row that cannot be read has an `error` instead."""

    file: str
    number: int
    row: Row | None
    error: str = ""


def rows(source: str | Path, split: str | None = None, config: str | None = None, data_dir: str | None = None) -> Iterator[Record]:
    """The rows of a file, a folder, a data set saved by `datasets`, or a hub id, in a fixed order (files by name).

    `config` and `data_dir` choose among a hub data set's configurations and folders, as in `datasets.load_dataset`.
    Raises InputError for what is not there, is cut short or cannot be read at all; it names file and row.
    """
    path = Path(source)
    if path.is_dir():
        if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
            yield from _records(str(path), _saved(path, split))
            return
        files = sorted(file for file in path.rglob("*") if file.is_file() and _kind(file) in _READERS)
        if not files:
            raise InputError(f"{path} holds no data file ({', '.join(sorted(_READERS))}; each also with .gz or .zst)")
        for file in files:
            yield from read_file(file, str(file.relative_to(path)))
    elif path.exists():
        yield from read_file(path, str(path))
    elif _HUB_ID.fullmatch(str(source)):
        yield from _records(str(source), hub_rows(str(source), split, config, data_dir))
    else:
        raise InputError(f"{source}: there is no such file or folder")


def read_file(path: Path, name: str) -> Iterator[Record]:
    """The rows of one file, called `name` in messages."""
    reader = _READERS.get(_kind(path))
    if reader is None:
        raise InputError(f"{path}: no reader for {path.suffix or 'a file without suffix'}; there are {', '.join(sorted(_READERS))}")
    number = 0
    try:
        for number, row in enumerate(reader(path), 1):
            yield Record(name, number, None, row) if isinstance(row, str) else Record(name, number, row)
    except InputError as error:
        raise InputError(f"{name}, row {number + 1}: {error}") from error
    except EOFError as error:
        raise InputError(f"{name}, after row {number}: the file is cut short; fetch or write it again") from error
    except (OSError, *_decoding_errors()) as error:
        raise InputError(f"{name}, after row {number}: cannot be read: {error}") from error


def _records(name: str, table: Iterable[Row]) -> Iterator[Record]:
    return (Record(name, number, row) for number, row in enumerate(table, 1))


def _kind(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in (".gz", ".zst"):
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _open(path: Path) -> IO[bytes]:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    if suffix == ".zst":
        zstandard = needed("zstandard")
        return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True))
    return path.open("rb")


def _json_lines(path: Path) -> Iterator[Row | str]:
    with _open(path) as file:
        for number, line in enumerate(file):
            if not line.strip():
                continue
            try:
                row = _parsed(line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line)
            except ValueError as error:
                if line.lstrip().startswith(b"{") and not line.endswith(b"\n") and isinstance(error, json.JSONDecodeError):
                    raise InputError("the file ends inside this row: it is cut short") from error
                yield f"this line is not JSON: {error}"
                continue
            except RecursionError:
                yield "this line is nested too deeply to be read"
                continue
            yield cast(Row, row) if isinstance(row, dict) else "this line is not a JSON object"


def _parsed(line: bytes) -> Any:
    """The JSON in `line`. pydantic's parser takes a fifth of the time; if it refuses, Python's reads it or explains the error."""
    try:
        return from_json(line, cache_strings="keys")
    except ValueError:
        return json.loads(line.decode())  # a text, because Python's parser would guess UTF-16 for some bytes


def _json(path: Path) -> Iterator[Row | str]:
    """An array of objects, streamed; a file that only calls itself .json and holds lines is read as lines."""
    with _open(path) as file:
        while (first := file.read(1)).isspace():
            pass
    if first == b"{":
        yield from _json_lines(path)
        return
    ijson = needed("ijson")
    number = 0  # items that were read
    with _open(path) as file:
        try:
            for row in ijson.items(file, "item", use_float=True):
                number += 1
                yield row if isinstance(row, dict) else "this item is no JSON object"
        except ijson.IncompleteJSONError as error:
            for row in _python_json(path, error)[number:]:
                yield row if isinstance(row, dict) else "this item is no JSON object"


def _python_json(path: Path, error: Exception) -> list[Any]:
    """An array in Python's JSON, in which NaN and Infinity are numbers. Raises InputError with `error` if it is not that either."""
    why = InputError(f"the file is cut short or not JSON: {str(error).splitlines()[0]}")
    if path.stat().st_size > MOST_PYTHON_JSON:
        raise why from error
    with _open(path) as file:
        try:
            array = json.load(file)
        except (ValueError, RecursionError):
            raise why from error
    return cast("list[Any]", array)


def _csv(path: Path) -> Iterator[Row | str]:
    """Comma-separated rows, or tab-separated ones, whose quotation marks may be part of the texts."""
    if _kind(path) == ".csv":
        yield from _separated(path, delimiter=",")
    else:
        quoting = min((csv.QUOTE_MINIMAL, csv.QUOTE_NONE), key=lambda quoting: _misfits(path, quoting))
        yield from _separated(path, delimiter="\t", quoting=quoting)


def _separated(path: Path, **form: Any) -> Iterator[Row | str]:
    with _cells(path) as file:
        reader = csv.DictReader(file, strict=True, **form)
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                if "unexpected end" in str(error):
                    raise InputError(
                        "the file ends inside a quoted cell: it is cut short, or a quotation mark is missing"
                    ) from error
                yield f"this line is not CSV: {error}"
                continue
            if row is None:
                return
            if None in row:
                yield "this line has more cells than the header"
            elif any(cell and _NOT_UTF8.search(cell) for cell in row.values()):
                yield "this line is not UTF-8"
            else:  # CSV has no null: tools that export a table write an empty cell for a missing value.
                yield {column: cell or None for column, cell in row.items()}


def _cells(path: Path) -> IO[str]:
    csv.field_size_limit(sys.maxsize)
    return io.TextIOWrapper(_open(path), encoding="utf-8-sig", errors="surrogateescape", newline="")


def _misfits(path: Path, quoting: Literal[0, 3]) -> int:
    """The number of rows of a tab-separated file whose cells do not match its header under this rule of quoting."""
    with _cells(path) as file:
        rows = csv.reader(file, delimiter="\t", quoting=quoting, strict=True)
        width, misfits = -1, 0
        while True:
            try:
                row = next(rows, None)
            except csv.Error:
                misfits += 1
                continue
            if row is None:
                return misfits
            width = len(row) if width < 0 else width
            misfits += len(row) not in (0, width)


def _parquet(path: Path) -> Iterator[Row | str]:
    parquet = needed("pyarrow.parquet", "pyarrow")
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_BATCH):
            yield from batch.to_pylist()


def _arrow(path: Path) -> Iterator[Row | str]:
    pyarrow = needed("pyarrow")
    with pyarrow.memory_map(str(path)) as source:
        try:
            reader = pyarrow.ipc.open_stream(source)
        except pyarrow.ArrowInvalid:  # the other of the two Arrow formats
            file = pyarrow.ipc.open_file(source)
            reader = (file.get_batch(i) for i in range(file.num_record_batches))
        for batch in reader:
            for start in range(0, batch.num_rows, _BATCH):
                yield from batch.slice(start, _BATCH).to_pylist()


_READERS: dict[str, Callable[[Path], Iterator[Row | str]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".arrow": _arrow,
}


def _saved(path: Path, split: str | None) -> Iterable[Row]:
    datasets = needed("datasets")
    listed = path / "dataset_dict.json"
    if listed.exists():
        path /= _one_split(json.loads(listed.read_bytes())["splits"], split, str(path))
    files = json.loads((path / "state.json").read_bytes())["_data_files"]
    return datasets.load_from_disk(str(path)) if files else ()  # `datasets` saves a data set without rows, but cannot load it


def hub_rows(name: str, split: str | None, config: str | None, data_dir: str | None) -> Generator[Row]:
    """The rows of a hub data set, streamed. Raises InputError where the hub has no such data set, split, `config` or `data_dir`."""
    datasets = needed("datasets")
    try:
        loaded = datasets.load_dataset(name, config, data_dir=data_dir, streaming=True, split=split)
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: no such file, and the hub gives no such data set: {str(error).splitlines()[0]}") from error
    splits = cast(dict[str, Iterable[Row]], loaded) if isinstance(loaded, dict) else None
    yield from loaded if splits is None else splits[_one_split(list(splits), split, name)]


def _one_split(there: Sequence[str], split: str | None, name: str) -> str:
    if split is None and len(there) == 1:
        return there[0]
    if split is None or split not in there:
        raise InputError(f"{name} has the splits {', '.join(there)}; choose one with --split", field="split")
    return split


def needed(module: str, package: str = "") -> Any:
    """Import an extra's module now. Raises InputError with the line that installs it."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{package or module} is needed for this; install it with: pip install 'reasrm[data]'") from error


def _decoding_errors() -> tuple[type[Exception], ...]:
    """The errors that the loaded decoders raise for broken input."""
    errors: list[type[Exception]] = [UnicodeDecodeError, gzip.zlib.error]  # type: ignore[attr-defined]
    if "zstandard" in sys.modules:
        errors.append(sys.modules["zstandard"].ZstdError)
    if "pyarrow" in sys.modules:
        errors.append(sys.modules["pyarrow"].ArrowException)
    return tuple(errors)
