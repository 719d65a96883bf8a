"""The published numbers of RM-R1 agree with the computed ones, where enough is published to compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reasrm.benchmarks import BENCHMARKS, RM_R1, rewardbench, rm_bench, rmb
from reasrm.datasets import DataSet
from reasrm.metrics import Mean
from reasrm.report.benchmark import comparison


@pytest.fixture
def published(shared_data: Path) -> Path:
    return shared_data / "published" / "RM-R1-Qwen2.5-Instruct-32B"


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def exact(value: float) -> Mean:
    return Mean(value, 0.0, 1)


def test_rewardbench_sections_and_their_mean_come_out_to_the_last_digit(published: Path) -> None:
    subsets = read(published / "rewardbench_subsets.json")
    expected = read(published / "rewardbench_main.json")
    named = {name: exact(value) for name, value in subsets.items() if isinstance(value, float)}
    score = rewardbench.score_subsets(named)
    assert {name: mean.value for name, mean in score.sections.items()} == {name: expected[name] for name in rewardbench.SECTIONS}
    assert score.overall.value == expected["avg_Result_each_section"]
    assert score.missing == ()


@pytest.mark.parametrize("domain", ["chat", "code"])
def test_the_published_accuracy_of_rm_bench_is_a_whole_number_of_comparisons_of_the_rows(
    published: Path, shared_data: Path, domain: str
) -> None:
    rows = [row for row in DataSet(shared_data / "rm-bench" / f"{domain}_filtered.json") if row.example]
    won = read(published / "rmbench_final.json")[domain] * 9 * len(rows)
    assert won == pytest.approx(round(won), abs=1e-9)


def test_the_published_comparison_scores_name_their_sources_and_agree_with_the_files(published: Path) -> None:
    table = read(Path(rewardbench.__file__).parent / "published.json")
    assert set(table) == set(BENCHMARKS) | {"sources", "notes"}
    for name in BENCHMARKS:
        for entry in table[name]:
            assert entry["source"] in table["sources"]
            assert 0 < entry["overall"] <= 100
    levels = {name: f"{name}_acc" for name in rm_bench.LEVELS}
    for name, file, sections in (
        ("rewardbench", "rewardbench_main.json", {section: section for section in rewardbench.SECTIONS}),
        ("rm-bench", "rmbench_final.json", {domain: domain for domain in rm_bench.DOMAINS} | levels),
        ("rmb", "rmb_meta.json", {section: section for section in rmb.SECTIONS}),
    ):
        values = read(published / file)
        (own,) = [entry for entry in table[name] if entry["source"] == "rm-r1-files"]
        assert own["sections"] == {section: round(100 * values[key], 1) for section, key in sections.items()}


def test_the_output_warns_that_rm_r1s_scores_of_rm_bench_may_not_follow_its_formula() -> None:
    score = BENCHMARKS["rm-bench"].score([], RM_R1)
    assert any("not by RM-Bench's formula" in note for note in comparison(BENCHMARKS["rm-bench"], RM_R1, score, "m").notes)
    assert not any("formula" in note for note in comparison(BENCHMARKS["rmb"], RM_R1, score, "m").notes[1:])
