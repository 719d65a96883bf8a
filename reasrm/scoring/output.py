"""The output: the journal's rows in order, as JSON lines or Parquet. It is written elsewhere and renamed, so never partial."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reasrm.datasets.files import needed
from reasrm.errors import InputError, Refused

SUFFIXES = (".jsonl", ".parquet")
_GROUP = 1000  # rows per Parquet row group; fixed, so that equal rows give equal files


def check_output(path: Path, *, restart: bool, journal: Path) -> None:
    """Raise InputError or Refused now if `path` cannot become the output, before any token is spent."""
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
    with whole(path, "Nothing is lost: make room, and run the same command again") as partial:
        if path.suffix == ".parquet":
            _write_parquet(partial, rows)
        else:
            with partial.open("wb") as file:
                for row in rows:
                    file.write(row + b"\n")


@contextmanager
def whole(path: Path, advice: str = "Make room, and run the same command again") -> Generator[Path]:
    """A temporary file beside `path`. Without an error it is flushed to the disk and replaces `path`.

    Raises Refused, with `advice`, where the disk does not take it.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}. {advice}") from error
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Put `text` at `path`. Raises Refused where the disk does not take it."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


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
