"""The rules that drop rows: each drops its artefact and nothing similar; exact and near duplicates and contamination are found."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.training.test_data_mix import BASE, mixed, preferences, recipe_of, sentence, write_rows


def dropped(tmp_path: Path, rows: list[dict[str, Any]], rule: str, **data: Any) -> int:
    """How many of 30 good rows and `rows` the rule drops; it must drop none of the good ones."""
    path = write_rows(tmp_path / "rows.jsonl", preferences(30, seed=5) + rows)
    recipe = recipe_of(tmp_path, {"path": str(path), "drop": [rule]}, heldout=5, distill=5, **data)
    manifest, parts = mixed(recipe, lambda messages: len(messages[-1].content.split()))
    count = manifest.sources[0].dropped.get(rule, 0)
    assert sum(len(part) for part in parts.values()) == 30 + len(rows) - count - manifest.question_in_heldout
    return count


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        ("magpie_ultra", {"source": "magpie_ultra"}, {"source": "magpie_pro"}),
        ("special_tokens", {"rejected": "No.<|im_end|>\n<|im_start|>user"}, {"rejected": "a <im age> [INSTALL] <s>"}),
        ("special_tokens", {"rejected": "No <im_start> at all"}, {"chosen": "if a <| b and c |> d"}),
        ("special_tokens", {"rejected": "No.</s>\n"}, {"rejected": "<s>No.</s> Yes."}),
        ("special_tokens", {"chosen": "Yes.\n<extra_id_1>User"}, {"chosen": "Yes, an <extra_id>."}),
        ("equal_responses", {"rejected": "Eight minutes in boiling water. \n"}, {"rejected": "Nine minutes in boiling water."}),
        (
            "equal_responses",
            {"chosen": "if x:\n    y()", "rejected": "if x:  \n    y()\n"},
            {"chosen": "if x:\n  y()\nz()", "rejected": "if x:\n  y()\n  z()"},
        ),
        ("too_long", {"prompt": "egg " * 2000}, {"prompt": "egg " * 1000}),
    ],
)
def test_a_rule_drops_its_artefact_and_nothing_similar(tmp_path: Path, rule: str, bad: dict[str, str], good: dict[str, str]):
    assert dropped(tmp_path, [BASE | good], rule, max_prompt_tokens=1500) == 0
    assert dropped(tmp_path, [BASE | bad], rule, max_prompt_tokens=1500) == 1


def test_exact_duplicates_are_dropped_in_either_order(tmp_path: Path):
    swapped = BASE | {"chosen": BASE["rejected"], "rejected": BASE["chosen"].upper()}
    assert dropped(tmp_path, [BASE, dict(BASE), swapped], "duplicate") == 2


def test_near_duplicates_are_dropped_and_other_answers_to_the_same_question_kept(tmp_path: Path):
    row = preferences(1, seed=9)[0]
    near = row | {"chosen": row["chosen"] + " indeed"}
    other = row | {"chosen": sentence(random.Random(10), 60)}
    assert dropped(tmp_path, [row, near, other], "near_duplicate") == 1


def test_near_duplicates_are_found_in_scripts_without_spaces(tmp_path: Path):
    rng = random.Random(4)
    question, good, bad, other = ("".join(chr(0x4E00 + rng.randrange(3000)) for _ in range(120)) for _ in range(4))
    row = {"prompt": question, "chosen": good, "rejected": bad}
    near, different = row | {"chosen": good + "。好"}, row | {"chosen": other}
    assert dropped(tmp_path, [row, near, different], "near_duplicate") == 1


@pytest.mark.parametrize("first_drops", [[], ["near_duplicate"]])
def test_near_duplicates_are_found_whatever_the_earlier_source_drops(tmp_path: Path, first_drops: list[str]):
    rows = preferences(30)
    one = write_rows(tmp_path / "one.jsonl", rows)
    near = [row | {"chosen": row["chosen"] + " indeed"} for row in rows]
    two = write_rows(tmp_path / "two.jsonl", near + preferences(5, seed=9))
    sources = {"path": str(one), "drop": first_drops}, {"path": str(two), "drop": ["near_duplicate"]}
    manifest, _ = mixed(recipe_of(tmp_path, *sources))
    assert [report.dropped for report in manifest.sources] == [{}, {"near_duplicate": 30}]


def test_a_similarity_of_one_drops_only_texts_that_differ_in_punctuation(tmp_path: Path):
    row = preferences(1, seed=9)[0]
    rows = [row, row | {"chosen": row["chosen"] + "!"}, row | {"chosen": row["chosen"] + " indeed"}]
    assert dropped(tmp_path, rows, "near_duplicate", near_duplicate=1.0) == 1


def test_a_benchmarks_question_is_recognised_without_its_question_mark(tmp_path: Path):
    benchmark = write_rows(tmp_path / "benchmark.jsonl", [BASE | {"prompt": "What is the capital of France?"}])
    rows = [BASE | {"prompt": "What is the capital of France"}, BASE | {"prompt": "What is the capital of Spain?"}]
    assert dropped(tmp_path, rows, "in_benchmark", benchmarks=[str(benchmark)]) == 1


def test_rows_that_stand_in_a_benchmark_are_dropped(tmp_path: Path):
    row = preferences(1, seed=9)[0] | {"prompt": sentence(random.Random(3), 40)}
    benchmark = write_rows(tmp_path / "benchmark.jsonl", [BASE, row])
    near = row | {"prompt": row["prompt"] + " please"}
    rows = [BASE | {"chosen": "Ten minutes."}, near]
    assert dropped(tmp_path, rows, "in_benchmark", benchmarks=[str(benchmark)]) == 2


def test_a_real_benchmark_is_kept_out_of_training(tmp_path: Path, shared_data: Path):
    published = shared_data / "rm-bench" / "chat_filtered.json"
    rows = [
        {"prompt": row["prompt"], "chosen": row["chosen"][0], "rejected": row["rejected"][1]}
        for row in json.loads(published.read_text(encoding="utf-8"))[:3]
    ]
    assert dropped(tmp_path, rows, "in_benchmark", benchmarks=[str(published)]) == 3
