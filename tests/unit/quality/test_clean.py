"""Every row is kept, flipped or dropped for a stated reason; exact and near duplicates and contamination are found."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from reasrm.datasets import DataRow, Example, recognise
from reasrm.quality import Action, Rules, Strength, clean

STORY = "the quick brown fox jumps over the lazy dog while seven small cats sleep near the old stone well in the shade"


def entry(index: int, question: str, chosen: str, rejected: str, **fields: Any) -> DataRow:
    example = Example(id=f"id{index}", question=question, responses=(chosen, rejected), labels=(1, 0), **fields)
    return DataRow(index, "f", index + 1, {}, example)


def measured(*values: float | None) -> dict[int, Strength]:
    return {
        i: Strength(index=i, file="f", row=i + 1, id=f"id{i}", strength=value, spread=None, judges=(value,), replies=2)
        for i, value in enumerate(values)
    }


def run(entries: Sequence[DataRow], rules: Rules, *args: Any) -> tuple[list[Action], list[dict[str, Any] | None]]:
    done = list(clean(entries, rules, *args))
    return [action for action, _ in done], [row for _, row in done]


ROWS = [entry(i, f"question {i} {'x' * i}?", f"good {i}", f"bad {i}") for i in range(5)]


def test_strong_doubt_flips_a_row_weak_preference_drops_it_and_an_unmeasured_row_stays() -> None:
    actions, rows = run(ROWS, Rules(flip_below=-0.5, drop_below=0.1), measured(0.9, -0.8, 0.05, -0.3, None))
    assert [action.action for action in actions] == ["kept", "flipped", "dropped", "dropped", "kept"]
    assert rows[1] is not None
    assert rows[1]["chosen"] == [{"role": "assistant", "content": "bad 1"}]
    assert actions[1].reason == "strength -0.80 is below -0.50"
    assert actions[2].reason == "weak: strength +0.05 is below +0.10"
    assert rows[2] is None


def test_a_margin_is_the_logit_of_the_judges_probability_and_is_bounded() -> None:
    _, rows = run(ROWS, Rules(margin=True), measured(0.9, 0.1, -0.5, 1.0, -1.0))
    margins = [(row or {})["margin"] for row in rows]
    assert margins[:3] == pytest.approx([math.log(0.95 / 0.05), math.log(0.55 / 0.45), math.log(0.25 / 0.75)])
    assert margins[3:] == pytest.approx([math.log(99), -math.log(99)])


def test_every_row_has_a_margin_and_an_unmeasured_row_is_dropped() -> None:
    actions, rows = run(ROWS[:2], Rules(margin=True), measured(0.4, None))
    assert [row and isinstance(row["margin"], float) for row in rows] == [True, None]
    assert actions[1].reason == "not measured: a margin needs a strength"
    _, rows = run(ROWS[:2], Rules(), measured(0.4, None))
    assert not any("margin" in (row or {}) for row in rows)


def test_the_margin_of_a_flipped_row_belongs_to_its_new_label() -> None:
    _, rows = run(ROWS[:1], Rules(flip_below=0.0, margin=True), measured(-0.6))
    assert (rows[0] or {})["margin"] == pytest.approx(math.log(0.8 / 0.2))


def test_duplicates_near_ones_and_contradictions_are_told_apart() -> None:
    swapped = DataRow(2, "f", 3, {}, Example(question="Q?", responses=("bad", "good"), labels=(0, 1)))
    rows = [
        entry(0, "Q?", "good", "bad"),
        entry(1, " q? ", "Good", "bad"),
        swapped,
        entry(3, "Q?", "bad", "good"),
        entry(4, STORY, STORY + " one", STORY + " two"),
        entry(5, STORY, STORY + " one", STORY + " three"),
    ]
    actions, _ = run(rows, Rules())
    assert [action.reason for action in actions] == [
        "",
        "duplicate of f, row 1",
        "duplicate of f, row 1",
        "contradicts f, row 1",
        "",
        "nearly a duplicate of f, row 5",
    ]


def test_a_benchmark_question_is_recognised_although_two_of_the_benchmark_resemble_it() -> None:
    words = STORY.split()
    first, second, third = (" ".join(words[:20] + [f"{end}{i}" for i in range(n)]) for end, n in (("x", 0), ("x", 3), ("x", 6)))
    benchmark = [Example(id=str(i), question=text, responses=("a", "b")) for i, text in enumerate((first, second))]
    actions, _ = run([entry(0, third, "right", "wrong")], Rules(near=0.8), None, benchmark)
    assert actions[0].reason == "contamination: asks nearly what benchmark 1 asks"


def test_operators_tell_questions_apart_and_marks_of_a_sentence_do_not() -> None:
    questions = ["What is 3+4?", "What is 3-4?", "What is 3+4 ..."]
    actions, _ = run([entry(i, question, "right", "wrong") for i, question in enumerate(questions)], Rules(near=0.99))
    assert [action.reason for action in actions] == ["", "", "nearly a duplicate of f, row 1"]


def test_without_near_only_exact_duplicates_are_dropped() -> None:
    rows = [entry(0, STORY, STORY + " one", STORY + " two"), entry(1, STORY, STORY + " one", STORY + " three")]
    actions, _ = run(rows, Rules(near=None))
    assert [action.action for action in actions] == ["kept", "kept"]


def test_rows_that_ask_what_a_benchmark_asks_are_contamination() -> None:
    benchmark = [Example(id="7", subset="chat", question=f"{STORY}?", responses=("x", "y"))]
    rows = [
        entry(0, f"{STORY}?", "a", "b"),
        entry(1, f"please: {STORY}?", "a", "b"),
        entry(2, "something else entirely, without any likeness", "a", "b"),
    ]
    actions, _ = run(rows, Rules(), None, benchmark)
    assert [action.reason for action in actions] == [
        "contamination: asks what chat 7 asks",
        "contamination: asks nearly what chat 7 asks",
        "",
    ]


def test_a_row_that_is_not_a_labelled_pair_is_dropped_with_the_reason() -> None:
    tie = DataRow(0, "f", 1, {}, Example(question="q", responses=("a", "b"), labels=(0, 0)))
    group = DataRow(1, "f", 2, {}, Example(question="q", responses=("a", "b", "c"), labels=(1, 0, 0)))
    broken = DataRow(2, "f", 3, {}, None, "a is null")
    same = entry(3, "q", "same ", "same")
    actions, _ = run([tie, group, broken, same], Rules())
    assert [action.reason for action in actions] == ["no labelled pair", "not a pair", "unreadable: a is null", "equal responses"]


def test_cleaned_rows_are_read_as_preferences_again() -> None:
    _, rows = run(ROWS[:1], Rules(margin=True), measured(0.4))
    row = rows[0] or {}
    example = recognise([row]).read(row)
    assert example.chosen == ROWS[0].example.chosen if ROWS[0].example else None
    assert example.strength == pytest.approx(math.log(0.7 / 0.3))


TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Tells it.", "parameters": {"type": "object"}}}]


def call(arguments: Any, name: str = "weather") -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": name, "arguments": arguments}}]}


def trajectory(index: int, chosen: Any, rejected: Any = None, **columns: Any) -> DataRow:
    after = [{"role": "tool", "name": "weather", "content": "21"}, {"role": "assistant", "content": "21 degrees."}]
    raw = {
        "prompt": [{"role": "user", "content": "How warm is it?"}],
        "chosen": [chosen, *after],
        "rejected": [rejected or {"role": "assistant", "content": "Warm."}],
        **columns,
    }
    return DataRow(index, "f", index + 1, raw, recognise([raw]).read(raw))


def test_trajectories_with_different_calls_are_not_duplicates_and_those_with_equal_calls_are() -> None:
    rome, bern = call({"city": "Rome", "day": 1}), call({"city": "Bern", "day": 1})
    written_otherwise = call('{"day": 1,  "city": "Rome"}')
    rows = [trajectory(i, chosen) for i, chosen in enumerate((rome, bern, call({}, "rain"), written_otherwise))]
    actions, _ = run(rows, Rules(near=None))
    assert [action.reason for action in actions] == ["", "", "", "duplicate of f, row 1"]
    actions, _ = run([trajectory(0, {"role": "assistant", "content": "Warm."})], Rules(near=None))
    assert actions[0].reason == ""
    same = trajectory(0, rome).example
    assert same is not None
    equal = same.model_copy(update={"responses": (same.responses[0], same.responses[0])})
    actions, _ = run([DataRow(0, "f", 1, {}, equal)], Rules(near=None))
    assert actions[0].reason == "equal responses"


def test_programs_that_differ_in_indentation_are_different_responses_and_trailing_space_makes_no_difference() -> None:
    one, other = "if x:\n    y()\nz()", "if x:\n    y()\n    z()"
    actions, _ = run([entry(0, "q", one, other), entry(1, "r", one, one.replace("\n", "  \n\n"))], Rules(near=None))
    assert [action.reason for action in actions] == ["", "equal responses"]


def test_tool_calls_are_written_as_chat_templates_take_them_and_tools_stay_a_column() -> None:
    _, (row,) = run([trajectory(0, call('{"city": "Rome"}'), tools=TOOLS, system="Be brief.")], Rules(near=None))
    assert row is not None
    assert row["tools"] == TOOLS
    assert row["prompt"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How warm is it?"}]
    function = {"name": "weather", "arguments": {"city": "Rome"}}
    assert row["chosen"][0] == {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}
    again = DataRow(0, "f", 1, row, recognise([row]).read(row))
    assert again.example is not None
    _, (twice,) = run([again], Rules(near=None))
    assert twice == row


#: Templates that accept no form of a call: one drops the call where there is a text, the other joins arguments to a text.
AT_ODDS = {"deepseek_r1_distill", "deepseek_r1_distill_training", "deepseekv3"}


def test_trls_own_chat_templates_show_the_calls_of_cleaned_rows() -> None:
    from transformers.utils.chat_template_utils import _compile_jinja_template

    _, (row,) = run([trajectory(0, call('{"city": "Rome"}'), tools=TOOLS)], Rules(near=None))
    assert row is not None
    spec = importlib.util.find_spec("trl")
    assert spec is not None
    failed: set[str] = set()
    templates = [path for path in Path(spec.origin or "").parent.glob("chat_templates/*.jinja") if "tool_calls" in path.read_text()]
    for path in templates:
        try:
            text = _compile_jinja_template(path.read_text()).render(
                messages=row["prompt"] + row["chosen"], tools=row["tools"], bos_token="<s>", eos_token="</s>", pad_token="<p>"
            )
        except Exception:  # noqa: BLE001 - a template fails in whatever way it likes
            text = ""
        if "weather" not in text or "Rome" not in text or '\\"city' in text:
            failed.add(path.stem)
    assert len(templates) > 20
    assert failed <= AT_ODDS
