"""The output, whole or not at all: the journal's rows in order, as JSON lines or Parquet, written aside and put in place."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reasrm.datasets.files import needed
from reasrm.errors import InputError, Refused

SUFFIXES = (".jsonl", ".parquet")
_GROUP = 1000  # rows of a Parquet row group; fixed, so that equal rows are equal files


def check_output(path: Path, *, restart: bool, journal: Path) -> None:
    """Raises InputError or Refused where `path` cannot become the output: known before any token is spent."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: the output ends in {' or '.join(SUFFIXES)}", field="output")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file in it", field="output")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: there is no such folder to write to", field="output")
    if path.exists() and not restart and not journal.exists():
        raise Refused(f"{path} exists; give another name, or replace it with --restart")
    if path.suffix == ".parquet":
        needed("pyarrow")


def write_output(path: Path, rows: Iterator[bytes]) -> None:
    """Put `rows` (lines of JSON without their ends) at `path`. Raises Refused where the disk does not take them."""
    partial = path.with_name(path.name + ".partial")
    try:
        if path.suffix == ".parquet":
            _write_parquet(partial, rows)
        else:
            with partial.open("wb") as file:
                for row in rows:
                    file.write(row + b"\n")
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise Refused(
            f"{path} cannot be written: {error.strerror}. Nothing is lost: make room, and run the same command again"
        ) from error


def _write_parquet(path: Path, rows: Iterator[bytes]) -> None:
    pa, pq = needed("pyarrow"), needed("pyarrow.parquet", "pyarrow")
    schema = _schema(pa)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        batch: list[dict[str, Any]] = []
        for row in rows:
            batch.append(json.loads(row))
            if len(batch) == _GROUP:
                writer.write_table(pa.Table.from_pylist(batch, schema))
                batch = []
        if batch:
            writer.write_table(pa.Table.from_pylist(batch, schema))


def _schema(pa: Any) -> Any:
    """The columns of `Scored.flat`."""
    text, number, whole, truth = pa.string(), pa.float64(), pa.int64(), pa.bool_()
    game = pa.struct([("order", text), ("winner", text), ("reason", text), ("reply", text)])
    compared = pa.struct(
        [
            *(("i", whole), ("j", whole), ("winner", text), ("probability_a", number)),
            *(("source", text), ("reason", text), ("detail", text), ("games", pa.list_(game))),
        ]
    )
    return pa.schema(
        [
            *(("index", whole), ("file", text), ("row", whole), ("id", text), ("subset", text), ("error", text)),
            *(("winner", text), ("probability_a", number), ("correct", truth), ("order_consistent", truth), ("reason", text)),
            *(("labels", pa.list_(number)), ("lengths", pa.list_(whole)), ("strength", number)),
            *(("comparisons", pa.list_(compared)), ("rewards", pa.list_(number))),
            *(("model", text), ("weight_version", text), ("prompt_digest", text)),
            *(("prompt_tokens", whole), ("completion_tokens", whole)),
        ]
    )
