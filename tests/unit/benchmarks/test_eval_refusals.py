"""`reasrm eval` refuses input that a benchmark's authors would not score, before any judgment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reasrm.commands.eval import BenchmarkSettings, LongReplies, evaluate
from reasrm.commands.settings import JobSettings
from reasrm.errors import InputError
from reasrm.judge_address import JudgeAddress
from reasrm.results import Compared, Game, Scored
from tests.unit.datasets.published_rows import ROWS


def run(**settings: Any) -> None:
    nobody = JudgeAddress.model_validate({"url": "http://127.0.0.1:9"})
    evaluate(BenchmarkSettings.model_validate({"benchmark": "judgebench"} | settings), LongReplies(), JobSettings(), nobody)


def judgebench(model: str) -> str:
    return json.dumps(ROWS["judgebench"][0] | {"response_model": model, "response_A": model}) + "\n"


@pytest.mark.parametrize("files", [("gpt", "claude"), ("gpt+claude",)])
def test_judgebench_files_of_two_models_are_not_pooled(files: tuple[str, ...], tmp_path: Path) -> None:
    for name in files:
        (tmp_path / f"{name}.jsonl").write_text("".join(judgebench(model) for model in name.split("+")))
    with pytest.raises(InputError, match=r"scored separately for each response model, .* \(claude, gpt\): give one file"):
        run(path=str(tmp_path), output=tmp_path / "out.jsonl")
    assert not list(tmp_path.glob("out*"))


def test_judgments_of_one_order_are_not_shown_under_the_title_of_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compared = Compared(i=0, j=1, winner="A", probability_a=0.9, source="votes", games=(Game(order="ba", winner="A"),))
    row = Scored(index=0, file="f", row=1, id="x", subset="livebench-math", labels=(1, 0), lengths=(1, 1), comparisons=(compared,))
    (tmp_path / "one.jsonl").write_text(json.dumps(row.flat(), default=lambda value: value.model_dump(mode="json")) + "\n")
    with pytest.raises(
        InputError, match="read in one order only, and the protocol both-orders needs both: judge the benchmark again"
    ):
        run(judgments=tmp_path / "one.jsonl", protocol="both-orders")
    assert capsys.readouterr().out == ""
    run(judgments=tmp_path / "one.jsonl", protocol="rm-r1", as_json=True)
    assert json.loads(capsys.readouterr().out)["sections"]["Math"]["value"] == 1.0
