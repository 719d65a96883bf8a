"""The report of a run: made from the files that exist; texts in it are never markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from reasrm_training.report import RunFolder, baselines, write_report
from reasrm_training.report.curves import PANELS, smoothed
from reasrm_training.report.page import paired
from typer.testing import CliRunner

from reasrm.commands.app import app
from reasrm.errors import InputError
from tests.training.finished_run import evaluation, finished_run, write

ASKED_FOR = {  # required curves
    *("loss", "reward", "verdict_accuracy", "order_consistency", "completions/mean_length", "kl", "entropy", "format", "p_a"),
    "frac_reward_zero_std",
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a whole run."""
    return finished_run(tmp_path / "run")


class Shape(HTMLParser):
    """The tags of a page, where they point, and what can be read."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.labels: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        self.labels += [value or "" for name, value in attrs if name == "aria-label"]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def page_of(folder: Path, **settings: Any) -> Shape:
    return Shape(write_report(RunFolder.at(folder), **settings).read_text(encoding="utf-8"))


def test_every_curve_that_was_logged_is_drawn_with_how_to_read_it(run: Path):
    page = page_of(run)
    assert {panel.name for panel in PANELS} >= ASKED_FOR
    for panel in PANELS:
        assert any(label.startswith(f"RL (GRPO), {panel.title}. {panel.why}") for label in page.labels)
    assert sum(label.startswith("distillation (SFT), ") for label in page.labels) == 1
    assert page.tags.count("svg") == len(PANELS) + 2  # and SFT's loss, and the subsets


def test_no_text_is_markup_and_the_page_needs_nothing_else(run: Path):
    page = page_of(run)
    assert not set(page.tags) & {"script", "img", "link", "iframe", "object", "embed", "form", "eval"}
    assert not [address for address in page.addresses if not address.startswith("#")]
    assert "{{ 7 * 7 }}" in page.text
    assert "<eval>p1 ba 77</eval>" in page.text


def test_the_same_pairs_stand_side_by_side_each_with_its_verdict(run: Path):
    text = page_of(run).text
    assert "before training no verdict (no_answer) , 7 tokens" in text
    assert "RL, step 77 names A , 7 tokens" in text
    assert "Response A (better)" in text
    assert text.count("before training") == 2  # the first round of RL repeats the last one of SFT
    assert "p0 ab 0" in text
    assert "p2 ab" not in text  # was not judged during the training


def test_the_table_holds_the_stages_the_gain_between_them_and_the_baselines(run: Path, tmp_path: Path):
    write(tmp_path / "other", {"sft.json": json.loads(evaluation(0.5).model_dump_json()), "notes.json": {"no": "measurement"}})
    text = page_of(run, against=baselines([tmp_path / "other"])).text
    assert "other/sft 500 50.0 ± 1.0" in text
    assert "distillation (SFT) 500 75.1 ± 1.0" in text
    assert "RL (GRPO) 500 93.2 ± 1.0" in text
    assert "95.0 ± 1.0" in text  # voting@4
    assert "RL (GRPO) over distillation (SFT): +100.0 ± 0.0 points, over the same 3 pairs." in text


def test_the_page_says_how_the_judge_was_made_and_not_where(run: Path):
    page = page_of(run)
    assert "stopped: RL stopped itself at step 9" in page.text
    assert "12 pairs 3 s" in page.text
    assert '"steps": 77' in page.text
    assert "2.13.0" in page.text
    assert str(run) not in page.text


def test_an_incomplete_run_has_a_page(run: Path):
    for file in (
        "rlvr/metrics.jsonl",
        "rlvr/judgments.jsonl",
        "rlvr/samples.jsonl",
        "evaluate/rlvr.json",
        "evaluate/rlvr-replies.jsonl",
    ):
        (run / file).unlink()
    page = page_of(run)
    assert "RL (GRPO)" not in page.text
    assert "75.1" in page.text
    for file in sorted(run.glob("*/*")):
        file.unlink()
    (run / "state.json").unlink()
    assert "not begun" in page_of(run).text


def test_a_run_without_probes_shows_the_final_judgments(run: Path):
    for stage in ("distill", "rlvr"):
        (run / stage / "judgments.jsonl").unlink()
    text = page_of(run).text
    assert "SFT, at the end names B" in text
    assert "RL, at the end names A" in text


def test_the_same_run_gives_the_same_page(run: Path, tmp_path: Path):
    one, two = (write_report(RunFolder.at(run), to=tmp_path / name).read_bytes() for name in ("one", "two"))
    assert one == two


def test_the_command_writes_the_page_again_and_refuses_folders_without_a_run(run: Path, tmp_path: Path):
    done = CliRunner().invoke(app, ["train", "report", str(run)])
    assert done.stdout.strip() == str(run / "report.html")
    assert (run / "report.html").is_file()
    with pytest.raises(InputError, match="give the folder of a run of reasrm train"):
        RunFolder.at(tmp_path)
    with pytest.raises(InputError, match="no measurement of reasrm train there"):
        baselines([tmp_path / "run" / "data"])


def test_gains_are_paired_and_thick_lines_are_moving_averages():
    gain = paired({"a": [True, False], "b": [False, False], "c": [True]}, {"a": [True, True], "b": [True, True], "d": [True]})
    assert gain.value == 0.75
    assert gain.n == 2
    assert smoothed([0.0, 3.0, 6.0, 3.0], 1) == [0.0, 3.0, 4.0, 3.0]
