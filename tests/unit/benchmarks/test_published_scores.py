"""RM-R1's published results of the parts give RM-R1's published scores of the whole, to the last digit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reasrm.benchmarks import BENCHMARKS, rewardbench, rm_bench, rmb
from reasrm.metrics import Mean, average


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


def test_rm_bench_domains_give_the_published_mean(published: Path) -> None:
    expected = read(published / "rmbench_final.json")
    assert average([exact(expected[name]) for name in rm_bench.DOMAINS]).value == expected["total_avg_acc"]
    levels = [expected[f"{name}_acc"] for name in rm_bench.LEVELS]
    assert sum(levels) / 3 == pytest.approx(expected["total_avg_acc"], abs=1e-15)


def test_rmb_sections_give_the_published_mean(published: Path) -> None:
    expected = read(published / "rmb_meta.json")
    assert average([exact(expected[name]) for name in rmb.SECTIONS]).value == expected["Accuracy Averaged from Four Sections"]


def test_the_published_comparison_scores_name_their_sources_and_agree_with_the_files(published: Path) -> None:
    table = read(Path(rewardbench.__file__).parent / "published.json")
    assert set(table) == set(BENCHMARKS) | {"sources"}
    for name in BENCHMARKS:
        for entry in table[name]:
            assert entry["source"] in table["sources"]
            assert 0 < entry["overall"] <= 100
    main = read(published / "rewardbench_main.json")
    (own,) = [entry for entry in table["rewardbench"] if entry["source"] == "rm-r1-files"]
    assert own["sections"] == {name: round(100 * main[name], 1) for name in rewardbench.SECTIONS}
