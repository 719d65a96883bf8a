"""One bad row costs only itself, at every place and with every kind of error."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasrm.datasets import SCHEMAS, DataSet, Example, recognise, schema_named
from reasrm.datasets.schema import Schema
from reasrm.errors import InputError, SchemaError
from tests.unit.datasets.published_rows import GROUPS, ROWS
from tests.unit.datasets.small_files import CHAT, PAIR, write


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (PAIR | {"chosen": None}, "chosen is null"),
        ({"prompt": "Name a prime.", "chosen": "seven"}, "rejected is missing"),
        (PAIR | {"chosen": 7}, "chosen is a number"),
        ({}, "chosen is missing"),
    ],
)
def test_a_bad_first_row_decides_nothing(bad: dict[str, Any], message: str, tmp_path: Path) -> None:
    rows = list(DataSet(write(tmp_path / "x.jsonl", bad, PAIR, PAIR)))
    assert [bool(row.example) for row in rows] == [False, True, True]
    assert message in rows[0].error


def test_a_file_of_bad_rows_only_names_what_each_row_lacks(tmp_path: Path) -> None:
    rows = list(DataSet(write(tmp_path / "x.jsonl", PAIR | {"rejected": None}, PAIR | {"chosen": None})))
    assert [row.error for row in rows] == ["rejected is null", "chosen is null"]


def test_a_column_that_few_rows_have_does_not_decide_and_one_that_few_lack_does(tmp_path: Path) -> None:
    data = DataSet(write(tmp_path / "x.jsonl", *[PAIR] * 9, PAIR | {"source": "web"}))
    assert len([row for row in data if row.example]) == 10
    assert data.name == "preference"
    scored = PAIR | {"score_chosen": 3, "score_rejected": 1}
    data = DataSet(write(tmp_path / "y.jsonl", PAIR, *[scored] * 9))
    assert [row.error for row in data] == ["score_chosen is missing", *[""] * 9]
    assert data.name == "ultrafeedback"


WRONG: list[Any] = [
    *(None, "", "x", "[1", "[]", "{}", "[[1]]", 0, 7.5, True, 10**400, float("nan"), b"\xff"),
    *([], [None], [1], [[1]], ["x"], {}, {"x": 1}, [{}]),
    *([{"role": "user"}], [{"role": 1, "content": "x"}], {"role": "user", "content": "x"}),
    *([{"role": "user", "content": content}] for content in (5, [5], [{"type": "text", "value": "x"}], [{"type": "image"}])),
    *([{"role": "assistant", "tool_calls": calls}] for calls in (5, [5], [{"function": 5}], [{"function": {"name": 5}}])),
    [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"x": b"y"}}}]}],
    *([{"from": "human", "value": None}], [{"role": "assistant", "content": "x", "name": 5}]),
    *("[{'role': 'user', 'content': open('x')}]", "[{'role': 'user', 'content': 'x'} {'role': 'user'}]"),
]


def outcome(schema: Schema, row: dict[str, Any]) -> Example | str:
    try:
        return schema.read(row, "f.jsonl")
    except InputError as error:
        return str(error)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_cell_of_any_wrong_kind_is_a_bad_row_and_never_a_crash(name: str) -> None:
    schema = schema_named(name)
    row = (ROWS.get(name) or GROUPS.get(name) or ({"question": "q", "response": "a", "reference": "b"},))[0]
    for column in schema.reads:
        for wrong in WRONG:
            for change in (wrong, [wrong], [wrong, wrong]):
                assert outcome(schema, row | {column: change})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "text", "from"]), inner),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(ROWS | GROUPS)), data=st.data())
def test_no_json_in_a_cell_raises_anything_but_the_rows_own_error(name: str, data: st.DataObject) -> None:
    schema = schema_named(name)
    column = data.draw(st.sampled_from(sorted(schema.reads)))
    row = (ROWS.get(name) or GROUPS[name])[0] | {column: data.draw(JSON)}
    with contextlib.suppress(SchemaError):
        recognise([row])
    assert outcome(schema, row)


def test_a_content_part_without_text_and_a_null_label_cost_their_own_row(tmp_path: Path) -> None:
    def conversation(text: str, key: str) -> list[dict[str, Any]]:
        return [*CHAT, {"role": "assistant", "content": [{"type": "text", key: text}]}]

    rows = [{"chosen": conversation("seven", key), "rejected": conversation("nine", key)} for key in ("value", "text")]
    (bad, good) = DataSet(write(tmp_path / "x.jsonl", *rows))
    assert bad.error == "chosen[1].content[0] holds no text: only text can be judged"
    assert good.example is not None
    group = {"question": "Name a prime.", "responses": ["7", "9", "4"]}
    (good, bad) = DataSet(write(tmp_path / "y.jsonl", group | {"labels": [1, 0, 0]}, group | {"labels": [1, None, 0]}))
    assert (bool(good.example), bad.error) == (True, "labels[1] is null, not a number")


def test_a_line_nested_too_deeply_costs_its_own_row(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", PAIR)
    path.write_text('{"prompt": ' + "[" * 100_000 + "]" * 100_000 + "}\n" + path.read_text())
    (bad, good) = DataSet(path)
    assert bad.error
    assert good.example is not None


def test_a_line_of_a_csv_that_cannot_be_read_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b'prompt,chosen,rejected\nq,x,y\n"q" or so,x,y\nq,\xff,y\nq,x,y\n')
    rows = list(DataSet(path))
    assert [bool(row.example) for row in rows] == [True, False, False, True]
    assert ["not CSV" in rows[1].error, rows[2].error] == [True, "this line is not UTF-8"]


def test_nan_means_a_missing_value_also_in_an_array(tmp_path: Path) -> None:
    nan = float("nan")
    rows = [PAIR | {"input": nan, "margin": nan}, PAIR | {"chosen": nan}, PAIR | {"margin": 2}]
    (tmp_path / "x.json").write_text(json.dumps(rows))
    for path in (tmp_path / "x.json", write(tmp_path / "x.jsonl", *rows)):
        first, second, third = DataSet(path)
        assert first.example is not None
        assert (first.example.strength, first.example.question[0].content) == (None, "Name a prime.")
        assert second.error == "chosen is null"
        assert third.example is not None
