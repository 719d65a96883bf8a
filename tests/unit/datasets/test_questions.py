"""Nothing of a question is lost: columns that complete it, messages written as texts, dialogues in one text, empty turns."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reasrm.datasets import DataSet
from reasrm.judging.group import EMPTY
from tests.unit.datasets.published_rows import ROWS
from tests.unit.datasets.small_files import CHAT, PAIR, only, texts, whole, write


@pytest.mark.parametrize(
    ("row", "question"),
    [
        (PAIR | {"input": "Below ten."}, ["Name a prime.\n\nBelow ten."]),
        (PAIR | {"input": ""}, ["Name a prime."]),
        ({"instruction": "Name a prime.", "input": "Below ten.", "chosen": "7", "rejected": "9"}, ["Name a prime.\n\nBelow ten."]),
        (PAIR | {"system": "Answer in digits."}, ["Answer in digits.", "Name a prime."]),
        (PAIR | {"history": [["Hi", "Hello"]]}, ["Hi", "Hello", "Name a prime."]),
        (
            {"question": "Name a prime.", "a": "7", "b": "9", "system": "Answer in digits.", "input": "Below ten."},
            ["Answer in digits.", "Name a prime.\n\nBelow ten."],
        ),
        ({"question": "Name a prime.", "responses": ["7", "9"], "system": "Digits."}, ["Digits.", "Name a prime."]),
        ({"question": "Name a prime.", "response": "7", "reference": "5", "input": "x"}, ["Name a prime.\n\nx"]),
        (
            {
                "conversations": [{"from": "system", "value": "Digits."}, {"from": "human", "value": "Name a prime."}],
                "chosen": {"from": "gpt", "value": "7"},
                "rejected": {"from": "gpt", "value": "9"},
            },
            ["Digits.", "Name a prime."],
        ),
    ],
)
def test_everything_that_the_model_was_given_is_in_the_question(row: dict[str, Any], question: list[str], tmp_path: Path) -> None:
    assert texts(only(write(tmp_path / "x.jsonl", row))) == question


def test_the_tools_that_a_model_had_stand_in_the_question(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
    for column in (tools, json.dumps(tools)):
        plain = only(write(tmp_path / "x.jsonl", PAIR | {"tools": column}))
        assert plain.question[0].role == "system"
        assert json.dumps(tools) in plain.question[0].content
        with_system = only(write(tmp_path / "x.jsonl", PAIR | {"tools": column, "system": "Be brief."}))
        assert with_system.question[0].content.startswith("Be brief.")
        assert json.dumps(tools) in with_system.question[0].content
    assert len(only(write(tmp_path / "x.jsonl", PAIR | {"tools": []})).question) == 1


def test_a_system_column_that_says_what_the_messages_say_is_no_second_message_and_another_one_is_an_error(tmp_path: Path) -> None:
    row = PAIR | {"prompt": [{"role": "system", "content": "Digits."}, *CHAT]}
    assert texts(only(write(tmp_path / "x.jsonl", row | {"system": "Digits."}))) == ["Digits.", "Name a prime."]
    (bad,) = DataSet(write(tmp_path / "x.jsonl", row | {"system": "Words."}))
    assert bad.error == "the column system and the question's own system message differ"


def test_the_output_names_the_columns_that_were_read_and_those_that_were_not(tmp_path: Path) -> None:
    row = {"instruction": "Name a prime.", "input": "Below ten.", "chosen": "7", "rejected": "9", "annotator": "x", "empty": None}
    data = DataSet(write(tmp_path / "x.jsonl", row, row))
    list(data)
    assert data.notes == [
        "read: responses from chosen and rejected; question from instruction and input",
        "columns that are not read: annotator",
    ]


@pytest.mark.parametrize("written", [json.dumps, repr])
def test_messages_written_as_a_text_are_messages(written: Callable[[Any], str], tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["prompt", "chosen", "rejected"], ["Name a prime.", written(whole("it's 7")), written(whole("9"))]])
    example = only(path)
    assert texts(example) == ["Name a prime."]
    assert [response[0].content for response in example.responses] == ["it's 7", "9"]


def test_a_response_that_is_json_stays_a_text(tmp_path: Path) -> None:
    answer = json.dumps(whole("7"))
    example = only(write(tmp_path / "x.jsonl", PAIR | {"chosen": answer}))
    assert example.responses[0][0].content == answer


@pytest.mark.parametrize(
    "written", ["[{'role': 'user', 'content': 'x'}\n {'role': 'assistant', 'content': 'y'}]", "[{'role': 'user', 'content': f()}]"]
)
def test_messages_in_pythons_notation_that_cannot_be_read_are_a_bad_row_and_run_nothing(written: str, tmp_path: Path) -> None:
    (bad,) = DataSet(write(tmp_path / "x.jsonl", PAIR | {"chosen": written, "rejected": written}))
    assert "Python's notation" in bad.error


def test_a_very_long_text_in_pythons_notation_is_not_evaluated(tmp_path: Path) -> None:
    written = repr(whole("x" * 1_100_000))
    (bad,) = DataSet(write(tmp_path / "x.jsonl", PAIR | {"chosen": written, "rejected": written}))
    assert "too long to read; store them as JSON" in bad.error


@pytest.mark.parametrize("start", ["\n\n", ""])
def test_a_prompt_that_is_a_dialogue_in_one_text_has_its_turns(start: str, tmp_path: Path) -> None:
    prompt = f"{start}Human: Hi\n\nAssistant: Hello\n\nHuman: Name a prime.\n\nAssistant:"
    example = only(write(tmp_path / "x.jsonl", PAIR | {"prompt": prompt}))
    assert [(message.role, message.content) for message in example.question] == [
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "Name a prime."),
    ]


@pytest.mark.parametrize("empty", ["", "  \n"])
@pytest.mark.parametrize(
    "row",
    [
        PAIR,
        {"question": "Name a prime.", "a": "7", "b": "{}"},
        {"question": "Name a prime.", "responses": ["7", "{}"]},
        {"question": "Name a prime.", "response": "7", "reference": "{}"},
        {"chosen": whole("7"), "rejected": whole("{}")},
        {"chosen": "\n\nHuman: Name a prime.\n\nAssistant: 7", "rejected": "\n\nHuman: Name a prime.\n\nAssistant: {}"},
        ROWS["rmb-pairwise"][0] | {"reject": {"llm_name": "n", "answer": "{}"}},
    ],
)
def test_an_empty_response_is_a_response_as_it_is_for_rewards(row: dict[str, Any], empty: str, tmp_path: Path) -> None:
    written = json.dumps(row).replace('"nine"', json.dumps(empty)).replace("{}", json.dumps(empty)[1:-1])
    example = only(write(tmp_path / "x.jsonl", json.loads(written)))
    assert example.responses[1][-1].content == EMPTY
    assert example.responses[0][-1].content != EMPTY


def test_a_dialogue_that_ends_with_the_user_has_no_response(tmp_path: Path) -> None:
    dialogue = "\n\nHuman: Name a prime.\n\nAssistant: 7"
    (bad,) = DataSet(write(tmp_path / "x.jsonl", {"chosen": dialogue, "rejected": dialogue + "\n\nHuman: Sure?"}))
    assert bad.error == "rejected ends without a turn of Assistant: it holds no response"


def test_an_earlier_turn_without_text_is_left_out_of_the_question_as_rmb_needs(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": ""}, {"role": "assistant", "content": "Hello"}, *CHAT]
    row = ROWS["rmb-pairwise"][0] | {"conversation_input": turns}
    assert texts(only(write(tmp_path / "x.jsonl", row))) == ["Hello", "Name a prime."]
    (bad,) = DataSet(write(tmp_path / "x.jsonl", row | {"conversation_input": turns[:1]}))
    assert bad.error == "the question is empty"
