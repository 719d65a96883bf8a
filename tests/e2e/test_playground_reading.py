"""The page reads an unfinished reply as the library does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from reasrm.parsing import parse

STRUCTURE = "replies => import('./static/structure.js').then(({ structure }) => replies.map((reply) => structure(reply)))"
FIND = """([text, quote]) => import('./static/highlight.js')
  .then(({ find }) => find(text, quote).map(([from, to]) => text.slice(from, to)))"""


@pytest.fixture(scope="module")
def replies(shared_data: Path) -> list[str]:
    """Replies of published RM-R1 models."""
    return [json.loads(line)["reply"] for line in (shared_data / "rm_r1_replies.jsonl").read_text().splitlines()]


def structures(page: Page, replies: list[str]) -> list[dict[str, Any]]:
    return page.evaluate(STRUCTURE, replies)


def test_real_replies_read_as_the_library_reads_them(open_page: Callable[..., Page], replies: list[str]) -> None:
    for reply, seen in zip(replies, structures(open_page(), replies), strict=True):
        reading = parse(reply)
        assert seen.get("type") == reading.task_type
        assert seen.get("solution") == reading.solution
        assert seen.get("evaluation") == reading.evaluation
        if reading.rubric is None:
            assert seen["rubric"] is None
            continue
        assert seen["rubric"].get("justification") == reading.rubric.justification
        assert [item["text"] for item in seen["rubric"]["items"]] == [item.text for item in reading.rubric.items]
        weights = [item.weight for item in reading.rubric.items]
        assert [item["weight"] for item in seen["rubric"]["items"]] == weights


def test_a_reply_can_be_read_at_every_point_of_its_writing(open_page: Callable[..., Page], replies: list[str]) -> None:
    page = open_page()
    for reply in replies:
        growing = structures(page, [reply[:length] for length in range(0, len(reply), 7)])
        assert not any("<" in ((seen.get("rubric") or {}).get("justification") or "") for seen in growing)
        stages = [seen["stage"] for seen in growing]
        assert stages == sorted(stages, key=["thinking", "reading", "criteria", "solving", "comparing", "done"].index)


QUOTED = [
    ("It is 17, and 7 is prime.", "7", ["7"]),
    ("He said “so it  is”\nand left.", '"so it is" and left', ["so it  is”\nand left"]),
    ("One thing. Another thing. A third.", "One thing ... A third", ["One thing", "A third"]),
    ("Straße", "strasse", []),
    ("nothing alike", "something else", []),
    ("a", "", []),
]


def test_quotations_are_found_up_to_space_case_and_marks(open_page: Callable[..., Page]) -> None:
    page = open_page()
    for text, quote, expected in QUOTED:
        assert page.evaluate(FIND, [text, quote]) == expected


HOSTILE = {
    "spaces in a criterion": ("<rubric>\n1. a", " ", "b"),
    "digits in a criterion": ("<rubric>\n1. a ", "1", ""),
    "brackets in a criterion": ("<rubric>\n1. a ", "(", "4"),
    "dashes in a criterion": ("<rubric>\n1. a (4%) ", "- ", "b"),
    "quotations": ("<eval>", "<quote_A>x", ""),
    "angle brackets": ("", "<a", "!"),
}
GROWTH = """([head, piece, tail]) => Promise.all([import('./static/structure.js'), import('./static/highlight.js')]).then(
  ([{ structure, pieces }, { marked }]) => {
    const time = (length) => {
      const text = head + piece.repeat(length / piece.length) + tail;
      const started = performance.now();
      structure(text);
      pieces(text, "ab");
      marked(text, [piece.repeat(200) + "?", "x " + " ".repeat(length) + " y"]);
      return performance.now() - started;
    };
    time(1000);
    return [Math.max(5, time(4000)), Math.min(time(128000), time(128000), time(128000))];
  })"""


@pytest.mark.parametrize("shape", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_reply_takes_time_by_its_length(open_page: Callable[..., Page], shape: tuple[str, str, str]) -> None:
    few, many = open_page().evaluate(GROWTH, list(shape))
    assert many / few < 32**1.3


def test_weights_read_as_the_library_reads_them(open_page: Callable[..., Page]) -> None:
    lines = ["Names the 20% discount (40%)", "**Accuracy (40%)**: 20% off (20%)", "Accuracy: 30%", "Fell by 20%", "Tone (10%)."]
    reply = "<rubric>\n" + "\n".join(f"1. {line}" for line in lines) + "\n</rubric>"
    (seen,) = structures(open_page(), [reply])
    rubric = parse(reply).rubric
    assert rubric is not None
    assert [(item["text"], item["weight"]) for item in seen["rubric"]["items"]] == [
        (item.text, item.weight) for item in rubric.items
    ]
