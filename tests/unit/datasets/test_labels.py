"""The meaning of a label's values, texts with quotation marks, and rows that a benchmark holds twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reasrm.datasets import DataSet, winner_values_of
from reasrm.errors import InputError, SchemaError
from tests.unit.datasets.published_rows import GROUPS
from tests.unit.datasets.small_files import PAIR, write


def winners(path: Path, **options: Any) -> list[Any]:
    return [row.example.labels if row.example else row.error for row in DataSet(path, **options)]


def judged(*values: Any) -> list[dict[str, Any]]:
    return [{"question": "Name a prime.", "a": "7", "b": "9", "winner": value} for value in values]


def test_winners_one_and_two_are_read_as_first_and_second_and_reported(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", *judged(1, "2", 2.0, None))
    assert winners(path) == [(1.0, 0.0), (0.0, 1.0), (0.0, 1.0), None]
    data = DataSet(path)
    list(data)
    assert any("winner: 1 is a, 2 is b" in note and "--winner-values" in note for note in data.notes)


@pytest.mark.parametrize("values", [(0, 1), (0, 1, 2), (1, 1), (-1, 1)])
def test_other_numbers_are_not_guessed(values: tuple[int, ...], tmp_path: Path) -> None:
    read = winners(write(tmp_path / "x.jsonl", *judged(*values)))
    assert all("say what the values mean with --winner-values a=1,b=2,tie=0" in error for error in read)


def test_callers_say_what_the_values_of_a_winner_mean(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", *judged(0, 1, 2, True, 9))
    values = winner_values_of("a=1, b=0, tie=2, a=true")
    *read, unknown = winners(path, winners=values)
    assert read == [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (1.0, 0.0)]
    assert "winner is 9" in unknown
    with pytest.raises(SchemaError, match="preference has no column winner"):
        list(DataSet(write(tmp_path / "y.jsonl", PAIR), winners=values))


@pytest.mark.parametrize("written", ["", "a", "a=1", "a=1,b=1", "c=1,b=2", "tie=0,a=1"])
def test_values_of_a_winner_that_mean_nothing_are_refused(written: str) -> None:
    with pytest.raises(InputError, match="--winner-values"):
        winner_values_of(written)


def test_quotation_marks_in_tab_separated_texts_are_text_where_the_file_does_not_quote(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text('prompt\tchosen\trejected\nSay "hi".\t"hi" it is\tno\nAdd.\t5\t6\n')
    assert [row.example.responses[0][0].content if row.example else row.error for row in DataSet(path)] == ['"hi" it is', "5"]
    path.write_text('prompt\tchosen\trejected\n"Say\nhi."\t"a ""b""\tc"\tno\nAdd.\t5\t6\n')
    assert [row.example.responses[0][0].content if row.example else row.error for row in DataSet(path)] == ['a "b"\tc', "5"]


def test_a_row_in_a_part_of_a_benchmark_and_in_its_whole_counts_once(tmp_path: Path) -> None:
    row = GROUPS["rm-bench"][0]
    other = row | {"prompt": "Name another."}
    for name, rows in (
        ("chat_filtered", [row, row]),
        ("safety-refuse_filtered", [other]),
        ("total_dataset", [row | {"id": "chat/8", "domain": "chat"}, other | {"id": "safety/1", "domain": "safety-refuse"}]),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    data = DataSet(tmp_path, together=("rm-bench",))
    assert [(entry.index, entry.file, entry.number) for entry in data] == [
        (0, "chat_filtered.json", 1),
        (1, "chat_filtered.json", 2),
        (2, "safety-refuse_filtered.json", 1),
    ]
    assert "total_dataset.json: left out, since chat_filtered.json holds them too: 1 of its rows" in data.notes
