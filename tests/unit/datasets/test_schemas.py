"""Every published schema is recognised by its columns; labels, not positions, decide which response is better."""

from __future__ import annotations

from typing import Any

import pytest

from reasrm.datasets import SCHEMAS, mapping_of, recognise, renamed, schema_named
from reasrm.errors import InputError, SchemaError
from reasrm.types import Message
from tests.unit.datasets.published_rows import GROUPS, ROWS, assistant, user


@pytest.mark.parametrize("name", ROWS)
def test_a_pair_is_recognised_and_its_labels_name_the_preferred_response(name: str) -> None:
    row, expected = ROWS[name]
    schema = recognise([row])
    example = schema.read(row)
    assert schema.name == name
    assert example.chosen == (Message(role="assistant", content="seven"),)
    assert example.rejected == (Message(role="assistant", content="nine"),)
    assert example.question[-1].content.endswith("Name a prime.")
    assert {key: getattr(example, key) for key in expected} == expected
    assert example.comparisons_to_judge == ((0, 1),)


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_is_recognised_with_its_labels_and_the_comparisons_it_asks_about(name: str) -> None:
    row, labels, comparisons = GROUPS[name]
    schema = recognise([row])
    example = schema.read(row)
    assert schema.name == name
    assert example.labels == (tuple(labels) if labels else None)
    assert list(example.comparisons_to_judge) == comparisons
    assert example.winner is None


def test_every_schema_has_a_published_row() -> None:
    assert ROWS.keys() | GROUPS.keys() | {"reference"} == SCHEMAS.keys()


def test_a_single_response_with_a_reference_is_an_unlabelled_pair() -> None:
    row = {"question": "Name a prime.", "response": "nine", "reference": "seven"}
    example = recognise([row]).read(row)
    assert example.is_pair
    assert example.winner is None


@pytest.mark.parametrize(("name", "tie"), [("helpsteer2", {"preference_strength": 0}), ("ultrafeedback", {"score_rejected": 8.5})])
def test_a_tie_has_no_winner(name: str, tie: dict[str, float]) -> None:
    assert schema_named(name).read(ROWS[name][0] | tie).winner is None


class Noting(dict[str, Any]):
    """A row that notes which of its columns are read."""

    def __init__(self, row: dict[str, Any]) -> None:
        super().__init__(row)
        self.columns_read: set[str] = set()

    def __getitem__(self, column: str) -> Any:
        self.columns_read.add(column)
        return super().__getitem__(column)

    def get(self, column: str, default: Any = None) -> Any:
        self.columns_read.add(column)
        return super().get(column, default)


@pytest.mark.parametrize("name", [*ROWS, *GROUPS])
def test_a_schema_names_every_column_that_it_reads(name: str) -> None:
    row = Noting((ROWS.get(name) or GROUPS[name])[0])
    schema = schema_named(name)
    schema.read(row)
    assert row.columns_read <= schema.columns | schema.optional


def test_turns_of_the_preferred_conversation_go_to_the_question_only_as_far_as_both_share_them() -> None:
    branch = [user("Hi"), assistant("Hello")]
    row = {
        "chosen": [*branch, user("A prime?"), assistant("7")],
        "rejected": [*branch, user("Name one."), assistant("9")],
        "source": "s",
    }
    example = recognise([row]).read(row)
    assert [message.content for message in example.question] == ["Hi"]
    assert [message.content for message in example.chosen or ()] == ["Hello", "A prime?", "7"]


def test_tool_calls_survive_in_our_form_and_in_that_of_openai() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {"x": 1}}}]}
    history = [user("2+2?"), call, {"role": "tool", "content": "4", "tool_call_id": "1"}]
    row = {"chosen": [*history, assistant("4")], "rejected": [*history, assistant("5")], "source": ""}
    question = recognise([row]).read(row).question
    assert question[1].tool_calls[0].arguments == '{"x": 1}'
    assert question[-1].role == "tool"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("preference", {"chosen": None}, "chosen is null"),
        ("preference", {"rejected": 5}, "rejected is a number, neither a text nor messages"),
        ("skywork", {"rejected": [user("Other"), assistant("9")]}, "share no question"),
        ("skywork", {"chosen": "7", "rejected": "9"}, "no prompt beside the texts"),
        ("skywork", {"rejected": 7}, "rejected is a number, neither a text nor messages"),
        ("skywork", {"rejected": []}, "rejected is an empty list"),
        ("judgebench", {"label": "A=B"}, "label is 'A=B'"),
        ("helpsteer2", {"preference_strength": 7}, "outside -3 to 3"),
        ("pair", {"winner": "C"}, "not A, B or tie"),
        ("pair", {"strength": float("inf")}, "strength: Input should be a finite number"),
        ("group", {"labels": [1, float("nan"), 0]}, "labels.1: Input should be a finite number"),
        ("pair", {"question": []}, "question is an empty list"),
        ("rm-bench", {"chosen": ["7"]}, "three responses each"),
        ("ppe-correctness", {"sampled_conflict_pairs": [[0, 7]]}, "names no two of 3 responses"),
        ("rmb-pairwise", {"chosen": "seven"}, "chosen holds no answer"),
    ],
)
def test_a_bad_row_is_refused_with_the_column_that_is_wrong(name: str, change: dict[str, Any], message: str) -> None:
    row = (ROWS.get(name) or GROUPS[name])[0] | change
    with pytest.raises(InputError, match=message.replace("[", r"\[")):
        schema_named(name).read(row)


def test_columns_of_no_schema_are_refused_with_what_to_do() -> None:
    with pytest.raises(SchemaError, match=r"fit no schema.*--map"):
        recognise([{"text": "q", "good": "a", "bad": "b"}])


def test_columns_of_several_schemas_are_refused_with_the_choice() -> None:
    with pytest.raises(SchemaError, match=r"pair, preference; choose with --schema"):
        recognise([ROWS["pair"][0] | ROWS["preference"][0]])
    with pytest.raises(SchemaError, match=r"preference, hh-rlhf; choose"):
        recognise([{"chosen": None, "rejected": None}])


def test_mapped_columns_are_called_what_the_schemas_call_them() -> None:
    mapping = mapping_of("prompt=text, chosen=good, rejected=bad")
    row = renamed({"text": "Name a prime.", "good": "seven", "bad": "nine", "chosen": "hidden"}, mapping)
    assert recognise([row]).read(row).chosen == (Message(role="assistant", content="seven"),)


@pytest.mark.parametrize("text", ["chosen", "chosen=", "=good", "a=x,b=x", ""])
def test_a_mapping_that_maps_nothing_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--map takes"):
        mapping_of(text)
