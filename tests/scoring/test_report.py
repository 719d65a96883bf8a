"""The report holds what the tally counts, shows the surest mistakes, and treats every text as text."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from reasrm.benchmarks import BENCHMARKS, BOTH, Score
from reasrm.datasets import DataSet
from reasrm.metrics import Mean
from reasrm.report import BenchmarkTable, write_report
from reasrm.report.benchmark import comparison
from reasrm.results import Compared, Game, Scored
from reasrm.scoring.summary import as_data, facts_of, summary
from reasrm.scoring.tally import SURELY_WRONG, Tally
from reasrm.types import Side
from reasrm.wording import percent
from tests.scoring.test_run import write

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }}"
REPLY = "<type>Chat</type><rubric>- Accuracy (60%)\n- Clarity (40%)</rubric><eval>x</eval><answer>[[A]]</answer>" + EVIL


def row(index: int, winner: Side | None, probability: float | None, preferred: Side = "A", **change: Any) -> Scored:
    games = tuple(Game(order=order, winner=winner, reason=None if winner else "no_answer", reply=REPLY) for order in ("ab", "ba"))
    reason = None if winner else "no_answer"
    compared = Compared(
        i=0, j=1, winner=winner, probability_a=probability, source=winner and "logprobs", reason=reason, games=games
    )
    labels = (1.0, 0.0) if preferred == "A" else (0.0, 1.0)
    made = Scored(
        index=index,
        file="in.jsonl",
        row=index + 1,
        id=f"id{index}",
        subset="ab"[index % 2],
        labels=labels,
        lengths=(10, 5),
        comparisons=(compared,),
    )
    return made.model_copy(update=change)


def tally_of(*rows: Scored) -> Tally:
    tally = Tally()
    for row in rows:
        tally.add(row)
    return tally


def test_a_tally_counts_what_its_names_say() -> None:
    tally = tally_of(row(0, "A", 0.9), row(1, "B", 0.2), row(2, "A", 0.7, "B"), row(3, None, None), row(4, "A", 0.9, error="bad"))
    assert {name: (share.hits, share.n) for name, share in tally.accuracy.items()} == {"a": (2, 3), "b": (0, 1)}
    assert (tally.overall.hits, tally.overall.n) == (2, 4)
    assert (tally.rows, tally.errors, tally.comparisons, tally.no_verdicts) == (5, 1, 5, 1)
    assert tally.reasons == {"no_answer": 1}
    assert tally.consistent.value == 1.0
    assert tally.shown_first.value == 0.5
    assert (tally.longer.hits, tally.longer.n) == (3, 4)
    assert (tally.longer_labelled.hits, tally.longer_labelled.n) == (3, 4)
    assert [mistake.index for mistake, _ in tally.wrong] == [1, 2]
    data = as_data(tally)
    assert data["accuracy_all"]["value"] == 0.5
    assert data["no_verdict"] == {"no_answer": 1}


def test_only_the_surest_mistakes_are_kept() -> None:
    tally = tally_of(*(row(i, "B", i / 1000) for i in range(400)))
    assert [mistake.index for mistake, _ in tally.wrong] == list(range(SURELY_WRONG))


def test_facts_of_an_empty_tally_are_no_made_up_numbers() -> None:
    facts = dict(facts_of(Tally()))
    assert facts["comparisons"] == "0; no verdict"
    assert "position" not in facts


@pytest.mark.parametrize(
    ("share", "digits", "shown"),
    [
        (1.0, 1, "100.0 %"),
        (0.99951, 1, "> 99.9 %"),
        (0.9994, 1, "99.9 %"),
        (0.0, 1, "0.0 %"),
        (0.0004, 1, "< 0.1 %"),
        (0.997, 0, "> 99 %"),
        (0.5, 0, "50 %"),
    ],
)
def test_a_percentage_is_never_rounded_to_all_or_to_nothing(share: float, digits: int, shown: str) -> None:
    assert percent(share, digits) == shown


def test_terminal_page_and_benchmark_round_alike(tmp_path: Path) -> None:
    rows = [row(i, "A", 0.99996) for i in range(4000)] + [row(4000, "A", 0.99996, "B")]
    tally = tally_of(*rows)
    console = Console(record=True, width=132, file=io.StringIO())
    console.print(summary(tally))
    write_report(tmp_path / "report.html", tally, title="t")
    for text in (console.export_text(), (tmp_path / "report.html").read_text().replace("&gt;", ">")):
        assert "> 99.9 %" in text
        assert "both orders agree" in text
    assert "&gt; 99.9 % for A" in (tmp_path / "report.html").read_text()
    score = Score(Mean(0.9998, 0.0, 5), {}, {})
    (_, cells, _), *_ = comparison(BENCHMARKS["rewardbench2"], BOTH, score, "m").rows
    assert cells[0].startswith("> 99.9")


@pytest.fixture
def page(tmp_path: Path) -> str:
    source = write(tmp_path / "in.jsonl", 4, a=EVIL)
    tally = tally_of(row(0, "A", 0.9), row(1, "B", 0.1), row(2, None, None))
    table = BenchmarkTable("RM-Bench", "rm-r1: one order", ["overall"], [("ours <b>", ["1.0"], True), ("theirs", ["2.0"], False)])
    write_report(tmp_path / "report.html", tally, title=f"in {EVIL}", data=DataSet(source), comparison=table)
    return (tmp_path / "report.html").read_text()


class Tags(HTMLParser):
    """The tags of a page, and where they point."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]


def test_the_page_needs_nothing_else_and_runs_nothing(page: str) -> None:
    assert "default-src 'none'" in page
    parser = Tags()
    parser.feed(page)
    assert not parser.tags & {"script", "img", "link", "iframe", "object", "embed", "form"}
    assert not [address for address in parser.addresses if not address.startswith("#")]


def test_texts_of_rows_and_replies_are_never_markup_or_template(page: str) -> None:
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{ 7 * 7 }}" in page
    assert "ours &lt;b&gt;" in page


def test_the_page_shows_the_mistake_with_its_texts_its_rubric_and_its_reply(page: str) -> None:
    assert "90.0 % for B" in page
    assert "labelled A" in page
    assert "second 1 “x”" in page
    assert "<li>Accuracy (60%)</li>" in page
    assert page.count("<svg") == 5
    assert "RM-Bench" in page


def test_the_page_is_the_same_for_the_same_rows(tmp_path: Path) -> None:
    tally = tally_of(row(0, "A", 0.9), row(1, "B", 0.1))
    for name in ("a", "b"):
        write_report(tmp_path / name, tally, title="same")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
