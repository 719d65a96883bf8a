"""How the page reads a reply that is still being written, held against the library's own reading of it."""

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
    for text, quote, found in QUOTED:
        assert page.evaluate(FIND, [text, quote]) == found
