"""Rows are read from every kind of file in order and one by one; errors name the file and the row."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from reasrm.datasets import DataSet, mapping_of, read_examples
from reasrm.datasets.files import hub_rows
from reasrm.errors import InputError, SchemaError

ROWS = [{"id": str(i), "question": f"{i} + {i}?", "a": f"{2 * i} — ja", "b": f"{i}\nno"} for i in range(700)]


def lines(rows: list[dict[str, Any]] = ROWS) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def write_csv(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(ROWS[0]))
        writer.writeheader()
        writer.writerows(ROWS)


def write_arrow(path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def write_feather(path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=300)


def save_with_datasets(path: Path) -> None:
    import datasets

    datasets.Dataset.from_list(ROWS).save_to_disk(path)


def save_splits(path: Path) -> None:
    import datasets

    datasets.DatasetDict({"test": datasets.Dataset.from_list(ROWS)}).save_to_disk(path)


def write_folder(path: Path) -> None:
    (path / "sub").mkdir(parents=True)
    (path / "a.jsonl").write_bytes(lines(ROWS[:300]))
    (path / "sub" / "b.jsonl.gz").write_bytes(gzip.compress(lines(ROWS[300:])))
    (path / "README.md").write_text("not data")


WRITERS: dict[str, Callable[[Path], Any]] = {
    "x.jsonl": lambda path: path.write_bytes(b"\xef\xbb\xbf" + lines()),
    "x.ndjson": lambda path: path.write_bytes(lines().replace(b"\n", b"\n\n")),
    "x.jsonl.gz": lambda path: path.write_bytes(gzip.compress(lines())),
    "x.jsonl.zst": lambda path: path.write_bytes(zstandard.compress(lines()[:9000]) + zstandard.compress(lines()[9000:])),
    "x.json": lambda path: path.write_text(json.dumps(ROWS, indent=1)),
    "lines.json": lambda path: path.write_bytes(lines()),
    "x.parquet": lambda path: pq.write_table(pa.Table.from_pylist(ROWS), path),
    "x.csv": write_csv,
    "stream.arrow": write_arrow,
    "file.arrow": write_feather,
    "saved": save_with_datasets,
    "splits": save_splits,
    "folder": write_folder,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_gives_its_rows_in_order(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    entries = list(DataSet(tmp_path / name))
    assert [entry.index for entry in entries] == list(range(700))
    assert [(entry.id, entry.row["a"], entry.row["b"]) for entry in entries] == [(r["id"], r["a"], r["b"]) for r in ROWS]


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.jsonl.zst", "x.json", "x.parquet", "stream.arrow", "x.csv"])
def test_a_truncated_file_is_refused_by_name_and_row(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b'"350') + 1] if name == "x.csv" and b'"350' in whole else whole[: int(len(whole) * 0.7)])
    if name == "x.csv":
        path.write_bytes(whole[: whole.index(b"\nno", len(whole) // 2)])
    with pytest.raises(InputError, match=r"x\.|stream\.arrow") as caught:
        list(DataSet(path))
    assert "row" in str(caught.value)


def test_a_line_that_is_not_json_is_one_bad_row_among_good_ones(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(lines(ROWS[:2]) + b"{oops}\n\xff\xfe\n[1]\n" + lines(ROWS[2:4]))
    entries = list(DataSet(path))
    assert [bool(entry.example) for entry in entries] == [True, True, False, False, False, True, True]
    assert entries[2].where == f"{path}, row 3"
    assert all("JSON" in entry.error for entry in entries[2:5])


@pytest.mark.parametrize("name", ["utf16.jsonl", "wrapped.json"])
def test_a_file_without_lines_or_an_array_has_no_row_and_is_not_called_truncated(name: str, tmp_path: Path) -> None:
    (tmp_path / "utf16.jsonl").write_bytes('{"question": "首都?", "a": "x", "b": "y"}\n'.encode("utf-16") * 3)
    (tmp_path / "wrapped.json").write_text(json.dumps({"data": ROWS[:3]}, indent=1))
    with pytest.raises(SchemaError, match=r"holds no row that can be read; row 1: this line is not JSON"):
        list(DataSet(tmp_path / name))


def test_an_empty_cell_of_a_csv_is_a_missing_value(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("question,a,b,winner,strength,rubric\nq,x,y,A,2,\nq,x,y,,,\nq,x,,B,1,\n")
    labelled, unlabelled, broken = DataSet(tmp_path / "x.csv")
    assert labelled.example and (labelled.example.winner, labelled.example.strength, labelled.example.rubric) == ("A", 2.0, None)
    assert unlabelled.example and (unlabelled.example.winner, unlabelled.example.strength) == (None, None)
    assert broken.error == "b is null"


def test_half_of_a_surrogate_pair_is_a_bad_row_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"question": "q", "a": "cut \\ud83d", "b": "x"}\n{"question": "q", "a": "whole \\ud83d\\ude00", "b": "x"}\n')
    cut, whole = DataSet(path)
    assert cut.error == "a text holds U+D83D, half of a surrogate pair: it was cut inside a character"
    assert whole.example is not None


def test_files_of_several_schemas_are_refused_with_both_names(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(ROWS[:1]))
    (tmp_path / "b.jsonl").write_bytes(lines([{"prompt": "q", "chosen": "x", "rejected": "y"}]))
    with pytest.raises(SchemaError, match=r"mixed schemas: a.jsonl is pair, b.jsonl is preference"):
        list(DataSet(tmp_path))


def test_parts_that_belong_together_are_read_in_one_go_and_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(ROWS[:1]))
    (tmp_path / "b.jsonl").write_bytes(lines([{"prompt": "q", "chosen": "x", "rejected": "y"}]))
    data = DataSet(tmp_path, together=("pair", "preference"))
    assert [entry.example is not None for entry in data] == [True, True]
    assert data.name == "pair + preference"
    with pytest.raises(SchemaError, match=r"b.jsonl is preference, where pair or group is needed"):
        list(DataSet(tmp_path, together=("pair", "group")))


def test_a_mapped_table_is_read_and_a_mapping_of_no_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('text,good,bad\n"q?",x,y\n')
    assert [entry.example is not None for entry in DataSet(path, mapping=mapping_of("prompt=text,chosen=good,rejected=bad"))] == [
        True
    ]
    with pytest.raises(SchemaError, match="no column 'god' to map; it has text, good, bad"):
        list(DataSet(path, mapping=mapping_of("prompt=text,chosen=god,rejected=bad")))


def test_a_mapping_to_a_name_that_the_schema_does_not_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("text,good,bad,points\nq,x,y,2\n")
    (entry,) = DataSet(path, mapping=mapping_of("prompt=text,chosen=good,rejected=bad,margin=points"))
    assert entry.example and entry.example.strength == 2.0
    with pytest.raises(SchemaError, match="preference has no 'strength' to map a column to; it has chosen, history, id, "):
        list(DataSet(path, mapping=mapping_of("prompt=text,chosen=good,rejected=bad,strength=points")))


def test_one_of_several_splits_must_be_chosen(tmp_path: Path) -> None:
    import datasets

    part = datasets.Dataset.from_list(ROWS[:3])
    datasets.DatasetDict({"train": part, "test": part}).save_to_disk(tmp_path / "d")
    assert len(list(DataSet(tmp_path / "d", split="test"))) == 3
    with pytest.raises(InputError, match="splits train, test; choose one with --split"):
        list(DataSet(tmp_path / "d"))


def test_an_empty_split_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    import datasets

    part = datasets.Dataset.from_list(ROWS[:3])
    datasets.DatasetDict({"train": part, "test": part.select([])}).save_to_disk(tmp_path / "d")
    assert len(list(DataSet(tmp_path / "d", split="train"))) == 3
    with pytest.raises(SchemaError, match="d: split 'test' is empty"):
        list(DataSet(tmp_path / "d", split="test"))


def test_a_configuration_or_a_folder_of_a_hub_data_set_is_chosen(tmp_path: Path) -> None:
    """`load_dataset` treats a local folder as it does a repository: the test needs no network to see the request."""
    for name in ("plain", "preference"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows.jsonl").write_bytes(lines([{"is": name}]))
    assert list(hub_rows(str(tmp_path), None, None, "preference")) == [{"is": "preference"}]
    configs = "".join(f"- config_name: {name}_rows\n  data_files: {name}/rows.jsonl\n" for name in ("plain", "preference"))
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    assert list(hub_rows(str(tmp_path), "train", "plain_rows", None)) == [{"is": "plain"}]
    with pytest.raises(InputError, match="'other' not found"):
        list(hub_rows(str(tmp_path), None, "other", None))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "holds no data file"),
        (lambda path: path.write_text(""), "no reader for"),
        (lambda path: None, "there is no such file"),
    ],
)
def test_a_file_that_is_not_data_is_reported(make: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    make(tmp_path / "thing")
    with pytest.raises(InputError, match=message):
        list(DataSet(tmp_path / "thing"))


def test_an_empty_file_is_reported_as_empty(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("")
    with pytest.raises(SchemaError, match=r"x\.jsonl: is empty"):
        list(DataSet(tmp_path / "x.jsonl"))


def test_a_hub_id_that_cannot_be_loaded_is_reported() -> None:
    with pytest.raises(InputError, match="the hub gives no such data set"):
        list(DataSet("nobody/no-such-set"))


def test_reading_examples_stops_at_the_first_bad_row(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(lines([*ROWS[:2], ROWS[2] | {"a": None}]))
    with pytest.raises(InputError, match=r"x.jsonl, row 3: a is null"):
        list(read_examples(tmp_path / "x.jsonl"))


def test_five_megabytes_in_one_response_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(lines([ROWS[0] | {"a": "x" * 5_000_000}]))
    (entry,) = DataSet(tmp_path / "x.jsonl")
    assert entry.example is not None
    assert len(entry.example.responses[0][0].content) == 5_000_000


def test_the_published_files_are_recognised_and_every_row_is_read(shared_data: Path) -> None:
    counts = {}
    for folder in ("rm-bench", "rmb/Pairwise_set", "rmb/BoN_set"):
        data = DataSet(shared_data / folder)
        entries = list(data)
        assert not [entry.error for entry in entries if entry.error]
        counts[data.name] = len(entries)
    assert counts == {"rm-bench": 357, "rmb-pairwise": 2255, "rmb-best-of-n": 461}


def test_rm_bench_takes_its_domain_from_the_name_of_the_file(shared_data: Path) -> None:
    assert {entry.example.subset for entry in DataSet(shared_data / "rm-bench") if entry.example} == {"chat", "code"}
