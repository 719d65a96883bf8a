"""Thoughts are left out of responses, in every notation that a model uses."""

from __future__ import annotations

from typing import Any

import pytest

from reasrm.messages import EMPTY
from reasrm.rewards.texts import prompt_of, response_of
from reasrm.rewards.thinking import MARKS, without_thought


@pytest.mark.parametrize("opens", MARKS)
def test_a_thought_is_left_out_whatever_marks_it(opens: str) -> None:
    closes = MARKS[opens]
    assert without_thought(f"{opens}It is 1117.{closes}\n\nIt is 1114.") == "It is 1114."
    assert without_thought(f"It is 1117.{closes}\n\nIt is 1114.") == "It is 1114.", "the prompt has opened it"
    assert without_thought(f"{opens}It is 11") == "", "it is not finished"
    assert without_thought(f"{opens}one{closes}First.\n{opens}two{closes}Then.") == "First.\nThen."
    assert without_thought(f"First.\n{opens}It is 11") == "First."


@pytest.mark.parametrize(
    "text", ["It is 1114.", "", "Write `<think>` and `</think>` around it.", "The tag <think> opens a thought.", "a < b > c"]
)
def test_a_text_without_a_thought_stays_as_it_is(text: str) -> None:
    assert without_thought(text) == text


def test_harmony_without_its_special_tokens_is_read_too() -> None:
    assert without_thought("analysisThe user adds.assistantfinalIt is 1117.") == "It is 1117."
    assert without_thought("analysis of the problem") == "analysis of the problem"


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("<think>It is 11", EMPTY),
        ("<think></think>", EMPTY),
        ([{"role": "assistant", "content": "<think>x</think>5"}], [{"role": "assistant", "content": "5"}]),
        ([{"role": "assistant", "content": "5", "reasoning_content": "x"}], [{"role": "assistant", "content": "5"}]),
        ([{"role": "assistant", "content": "<think>It is 11"}], [{"role": "assistant", "content": EMPTY}]),
    ],
)
def test_a_completion_that_is_only_an_unfinished_thought_is_an_empty_response(completion: Any, expected: Any) -> None:
    assert response_of(completion) == expected


def test_thoughts_are_kept_where_the_caller_says_so() -> None:
    assert response_of("<think>x</think>5", thinking="keep") == "<think>x</think>5"
    kept = response_of([{"role": "assistant", "content": "5", "reasoning_content": "x"}], thinking="keep")
    assert kept == [{"role": "assistant", "content": "<think>\nx\n</think>\n\n5"}]


def test_the_beginning_of_the_response_in_the_prompt_belongs_to_the_response() -> None:
    question, begun, _ = prompt_of([{"role": "user", "content": "Add."}, {"role": "assistant", "content": "<think>\n"}])
    assert question == [{"role": "user", "content": "Add."}]
    assert response_of("no end", begun) == EMPTY
    assert response_of("x</think>5", begun) == "5"
    assert response_of([{"role": "assistant", "content": "x</think>5"}], begun)[0]["content"] == "5"
