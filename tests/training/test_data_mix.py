"""The mix: its rows, the side that wins, its counts, and that equal recipes give equal bytes."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
from reasrm_training.config.recipe import Recipe
from reasrm_training.config.recipes import load_recipe
from reasrm_training.data.examples import PreferenceExample, read_examples
from reasrm_training.data.mix import DataManifest, make_data, question_key
from reasrm_training.model.tokenizer import token_counter

from reasrm.errors import InputError, RecipeError, SchemaError

WORDS = [f"{first}{second}" for first in "bcdfghjklm" for second in ("ado", "elu", "ino", "oma", "uri", "ack", "est", "ing")]
BASE = {"prompt": "How do I boil an egg?", "chosen": "Eight minutes in boiling water.", "rejected": "Put it in the oven."}


def sentence(rng: random.Random, length: int = 12) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(length))


def preferences(count: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    rows = [{"prompt": sentence(rng), "chosen": sentence(rng, 30), "rejected": sentence(rng, 30)} for _ in range(count)]
    return [row | {"id": str(number)} for number, row in enumerate(rows)]


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def recipe_of(folder: Path, *sources: dict[str, Any], **data: Any) -> Recipe:
    content = {
        "name": "mixed",
        "model": {"path": "none"},
        "data": {"sources": list(sources), "heldout": 10, "distill": 20} | data,
        "distill": {"learning_rate": 1e-5},
        "rlvr": {"learning_rate": 1e-6, "steps": 1},
        "evaluate": {},
        "output": str(folder / "run"),
    }
    return Recipe.model_validate(content)


def mixed(recipe: Recipe, count_tokens: Any = lambda messages: 1) -> tuple[DataManifest, dict[str, list[PreferenceExample]]]:
    folder = recipe.folder("data")
    manifest = make_data(recipe, folder, (lambda _: count_tokens) if count_tokens else token_counter)
    return manifest, {part: list(read_examples(folder / f"{part}.jsonl")) for part in ("distill", "rlvr", "heldout")}


@pytest.fixture
def two_sources(tmp_path: Path) -> Recipe:
    one = write_rows(tmp_path / "one.jsonl", preferences(101, seed=1))
    two = write_rows(tmp_path / "two.jsonl", preferences(80, seed=2))
    return recipe_of(tmp_path, {"path": str(one)}, {"path": str(two), "sample": 40, "name": "second"})


def test_the_same_recipe_gives_the_same_bytes(two_sources: Recipe, tmp_path: Path):
    folders = [tmp_path / "first", tmp_path / "again"]
    for folder in folders:
        make_data(two_sources, folder, lambda _: lambda messages: 1)
    files = sorted(path.name for path in folders[0].iterdir())
    assert files == ["distill.jsonl", "heldout.jsonl", "manifest.json", "rlvr.jsonl"]
    for name in files:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_another_seed_gives_another_mix(two_sources: Recipe, tmp_path: Path):
    _, parts = mixed(two_sources)
    other = two_sources.model_copy(update={"seed": 43, "output": str(tmp_path / "other")})
    _, others = mixed(other)
    assert [e.id for e in parts["rlvr"]] != [e.id for e in others["rlvr"]]


def test_the_winners_side_is_balanced_exactly_in_every_source_and_part(two_sources: Recipe):
    manifest, parts = mixed(two_sources)
    everything = [example for part in parts.values() for example in part]
    for source in ("one.jsonl", "second"):
        for examples in (everything, *parts.values()):
            sides = Counter(example.winner for example in examples if example.source == source)
            assert abs(sides["A"] - sides["B"]) <= 1, (source, sides)
    assert {report.name: report.winner_a for report in manifest.sources} == {"one.jsonl": 51, "second": 20}


def test_the_better_response_stays_the_better_one_on_whichever_side_it_stands(two_sources: Recipe, tmp_path: Path):
    chosen = {row["prompt"]: row["chosen"] for seed in (1, 2) for row in preferences(101, seed=seed)}
    _, parts = mixed(two_sources)
    for example in (example for part in parts.values() for example in part):
        winner = example.a if example.winner == "A" else example.b
        assert winner[0].content == chosen[example.question[0].content]


def test_a_sample_is_drawn_by_the_seed_and_filled_up_with_rows_that_pass(tmp_path: Path):
    rows = preferences(60)
    for row in rows[::2]:
        row["rejected"] = row["chosen"]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    manifest, parts = mixed(recipe_of(tmp_path, {"path": str(path), "sample": 25}, heldout=2, distill=3))
    (report,) = manifest.sources
    assert report.kept == 25
    assert report.looked_at == 25 + report.dropped["equal_responses"]
    assert report.rows == 60
    assert sum(len(part) for part in parts.values()) == 25


def test_no_held_out_question_is_in_training(tmp_path: Path):
    rows = preferences(20)
    rows += [row | {"chosen": f"another answer {number}", "id": f"b{number}"} for number, row in enumerate(rows)]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    manifest, parts = mixed(recipe_of(tmp_path, {"path": str(path), "drop": []}, heldout=6, distill=4))
    measured = {question_key(example) for example in parts["heldout"]}
    assert len(parts["heldout"]) == 6
    trained = parts["distill"] + parts["rlvr"]
    assert not measured & {question_key(example) for example in trained}
    assert len(trained) == 40 - 6 - manifest.question_in_heldout
    (report,) = manifest.sources
    assert manifest.question_in_heldout > 0
    assert (report.kept, report.winner_a) == (len(trained) + 6, sum(part.winner_a for part in manifest.parts.values()))


def test_ids_are_unique_where_a_source_repeats_its_own(tmp_path: Path):
    rows = [row | {"id": "same"} for row in preferences(40)]
    _, parts = mixed(recipe_of(tmp_path, {"path": str(write_rows(tmp_path / "rows.jsonl", rows))}))
    assert len({example.id for part in parts.values() for example in part}) == 40


def test_ties_and_rows_that_cannot_be_read_are_counted_apart(tmp_path: Path):
    rows = [
        {"prompt": f"q {number}", "response_1": "a", "response_2": f"b {number}", "preference_strength": number % 7 - 3}
        for number in range(70)
    ]
    rows[1]["response_1"] = None  # type: ignore[assignment]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    manifest, parts = mixed(recipe_of(tmp_path, {"path": str(path), "drop": []}, heldout=5, distill=5))
    (report,) = manifest.sources
    assert (report.schema_, report.rows, report.dropped) == ("helpsteer2", 70, {"no_winner": 10, "unreadable": 1})
    assert report.first_error == f"{path}, row 2: response_1 is null"
    strengths = {example.strength for part in parts.values() for example in part}
    assert strengths == {round(1 / 3, 6), round(2 / 3, 6), 1.0}


def labelled(count: int, *winners: Any) -> list[dict[str, Any]]:
    """Rows whose winners are `winners` in turn."""
    return [{"question": f"q {i}", "a": f"x {i}", "b": f"y {i}", "winner": winners[i % len(winners)]} for i in range(count)]


def test_a_label_that_names_no_side_costs_its_row_only(tmp_path: Path):
    rows = labelled(40, "A", "B")
    rows[3]["winner"], rows[7]["winner"] = "C", ["A"]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    manifest, parts = mixed(recipe_of(tmp_path, {"path": str(path), "drop": []}, heldout=5, distill=5))
    (report,) = manifest.sources
    assert (report.rows, report.kept, report.dropped) == (40, 38, {"unreadable": 2})
    how = 'say what the values mean by winner_values = "a=1,b=2,tie=0"'
    assert report.first_error == f"{path}, row 4: winner is 'C', not A, B or tie; {how}"
    assert sum(len(part) for part in parts.values()) == 38


def test_a_recipe_names_the_values_of_winners(tmp_path: Path):
    path = write_rows(tmp_path / "rows.jsonl", labelled(40, 0, 1, 2, 1))
    source = {"path": str(path), "drop": [], "winner_values": "a=1,b=0,tie=2"}
    manifest, parts = mixed(recipe_of(tmp_path, source, heldout=5, distill=5))
    assert manifest.sources[0].dropped == {"no_winner": 10}
    examples = [example for part in parts.values() for example in part]
    assert len(examples) == 30
    for example in examples:
        better = example.a if example.winner == "A" else example.b
        number = int(better[0].content.split()[1])
        assert better[0].content == (f"y {number}" if number % 4 == 0 else f"x {number}")


@pytest.mark.parametrize("written", ["1", "a=1", "a=1,b=1"])
def test_a_recipe_whose_winner_values_say_nothing_is_refused(tmp_path: Path, written: str):
    with pytest.raises(ValueError, match="winner_values"):
        recipe_of(tmp_path, {"path": "rows.jsonl", "winner_values": written})


def test_a_column_map_reads_a_file_of_an_unknown_schema(tmp_path: Path):
    rows = [{"ask": row["prompt"], "good": row["chosen"], "bad": row["rejected"]} for row in preferences(40)]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    source = {"path": str(path), "columns": {"prompt": "ask", "chosen": "good", "rejected": "bad"}}
    manifest, _ = mixed(recipe_of(tmp_path, source))
    assert manifest.sources[0].kept == 40


def test_a_finished_folder_is_kept_and_a_damaged_one_is_made_again(two_sources: Recipe):
    manifest, _ = mixed(two_sources)
    file = two_sources.folder("data") / "rlvr.jsonl"
    written = file.stat().st_mtime_ns
    mixed(two_sources)
    assert file.stat().st_mtime_ns == written
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    assert mixed(two_sources)[0] == manifest
    assert file.read_bytes() == whole


def test_a_source_that_has_changed_is_noticed(tmp_path: Path):
    path = write_rows(tmp_path / "rows.jsonl", preferences(40))
    recipe = recipe_of(tmp_path, {"path": str(path)})
    before, _ = mixed(recipe)
    write_rows(path, preferences(45))
    after, _ = mixed(recipe)
    assert (before.sources[0].rows, after.sources[0].rows) == (40, 45)


def test_the_seed_decides_the_data_and_the_learning_rate_does_not(two_sources: Recipe):
    first, _ = mixed(two_sources)
    assert two_sources.rlvr
    faster = two_sources.model_copy(update={"rlvr": two_sources.rlvr.model_copy(update={"learning_rate": 1e-3})})
    assert mixed(faster)[0].made_from == first.made_from
    assert mixed(two_sources.model_copy(update={"seed": 5}))[0].made_from != first.made_from


BAD_SOURCES = {
    "nothing_there": (None, {}, "no such file"),
    "empty": ([], {}, "rows.jsonl"),
    "unknown_columns": ([{"x": 1}], {}, "fit no schema"),
    "unknown_schema": ([BASE], {"schema": "skywurk"}, "no schema 'skywurk'"),
    "missing_column": ([{"prompt": "q", "chosen": "a"}] * 3, {"schema": "preference"}, "rejected is missing"),
    "not_a_side": (
        [{"question": "q", "a": "x", "b": "y", "winner": "C"}],
        {},
        "row 1: winner is 'C', not A, B or tie; say what the values mean by winner_values",
    ),
    "unknown_name": (
        [{"q": "q", "x": "x", "y": "y", "v": "A"}],
        {"columns": {"question": "q", "a": "x", "b": "y", "winer": "v"}},
        "pair has no 'winer' to map a column to; it has a, b, history, id, input, question, rubric, ",
    ),
    "no_winner": (
        [{"question": "q", "a": "x", "b": "y"}] * 3,
        {},
        "none of 3 rows says which response is better, in a column winner",
    ),
    "part_of_a_file": ([BASE], {"data_dir": "preference"}, "config and data_dir choose on the hub only"),
    "nothing_left": ([BASE | {"rejected": BASE["chosen"]}] * 3, {}, "no row is left of 3; dropped: 3 equal_responses"),
}


@pytest.mark.parametrize("case", BAD_SOURCES)
def test_a_bad_source_is_named_in_one_line_before_anything_is_written(tmp_path: Path, case: str):
    rows, extra, message = BAD_SOURCES[case]
    path = tmp_path / "rows.jsonl"
    if rows is not None:
        write_rows(path, rows)
    recipe = recipe_of(tmp_path, {"path": str(path)} | extra)
    with pytest.raises(InputError) as caught:
        mixed(recipe)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not recipe.folder("data").exists()


def test_a_bad_source_is_named_once_and_in_the_recipes_words(tmp_path: Path):
    path = write_rows(tmp_path / "rows.jsonl", [{"x": 1}])
    with pytest.raises(SchemaError) as caught:
        mixed(recipe_of(tmp_path, {"path": str(path)}))
    assert str(caught.value).count(str(path)) == 1
    assert "columns = { prompt" in str(caught.value)
    saved = tmp_path / "saved"
    datasets.DatasetDict({name: datasets.Dataset.from_list([BASE]) for name in ("train", "test")}).save_to_disk(str(saved))
    with pytest.raises(InputError, match=r'splits train, test; choose one by split = "NAME"'):
        mixed(recipe_of(tmp_path, {"path": str(saved)}))


def test_a_split_of_a_source_without_splits_is_refused(tmp_path: Path):
    path = write_rows(tmp_path / "rows.jsonl", preferences(40))
    with pytest.raises(RecipeError, match="has no splits to choose 'test' from; leave split out"):
        mixed(recipe_of(tmp_path, {"path": str(path), "split": "test"}))


def test_a_benchmark_that_cannot_be_read_is_named_with_its_key(tmp_path: Path):
    path = write_rows(tmp_path / "rows.jsonl", preferences(40))
    other = write_rows(tmp_path / "other.jsonl", [{"prompt": "q", "good": "x", "bad": "y"}])
    with pytest.raises(SchemaError, match=r"data\.benchmarks: .*other\.jsonl: the columns .*Call them question, a and b"):
        mixed(recipe_of(tmp_path, {"path": str(path)}, benchmarks=[str(other)]))


def test_too_few_rows_for_the_parts_are_named(tmp_path: Path):
    path = write_rows(tmp_path / "rows.jsonl", preferences(12))
    with pytest.raises(RecipeError, match=r"12 rows are left, fewer than heldout \(10\) and distill \(20\)"):
        mixed(recipe_of(tmp_path, {"path": str(path)}))
    with pytest.raises(RecipeError, match="nothing is left for the rlvr part"):
        mixed(recipe_of(tmp_path, {"path": str(path)}, heldout=5, distill=7))


def test_two_sources_of_one_name_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="two sources are called 'rows'"):
        recipe_of(tmp_path, {"path": "a/rows"}, {"path": "b/rows"})


def test_a_disk_without_room_is_named_before_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from reasrm_training.data import files

    path = write_rows(tmp_path / "rows.jsonl", preferences(40))
    full = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: full)
    with pytest.raises(RecipeError, match="are free on its disk"):
        mixed(recipe_of(tmp_path, {"path": str(path)}))


def test_a_broken_line_of_a_data_folder_is_named(tmp_path: Path):
    (tmp_path / "rlvr.jsonl").write_text('{"id": "1", "source": "s", "question": "q", "a": "x", "b": "y", "winner": "C"}\n')
    with pytest.raises(RecipeError, match=r"rlvr\.jsonl, line 1: winner"):
        list(read_examples(tmp_path / "rlvr.jsonl"))


def test_the_world_gives_the_same_folder(tmp_path: Path):
    recipe = load_recipe("tiny", ["world.chains=40", "world.labels=30", "world.heldout=20", f"output={tmp_path}"])
    manifest = make_data(recipe, tmp_path / "data", token_counter)
    assert {part: report.rows for part, report in manifest.parts.items()} == {"distill": 40, "rlvr": 30, "heldout": 20}
    examples = [e for part in manifest.parts for e in read_examples(tmp_path / "data" / f"{part}.jsonl")]
    assert len({example.id for example in examples}) == 90
    for report in manifest.parts.values():
        assert abs(2 * report.winner_a - report.rows) <= 1
    assert make_data(recipe, tmp_path / "again", token_counter).parts == manifest.parts


def test_held_out_tasks_are_the_same_for_every_seed(tmp_path: Path):
    sizes = ["world.chains=20", "world.labels=20", "world.heldout=20"]
    one, two = (make_data(load_recipe("tiny", [*sizes, f"seed={seed}"]), tmp_path / str(seed), token_counter) for seed in (1, 2))
    assert one.parts["heldout"] == two.parts["heldout"]
    assert one.parts["distill"] != two.parts["distill"]


def test_an_unknown_family_is_named(tmp_path: Path):
    with pytest.raises(RecipeError, match="no family 'algebra'; there are"):
        make_data(load_recipe("tiny", ['world.families=["algebra"]']), tmp_path / "data", token_counter)


def test_an_unknown_level_is_named(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"world\.label_levels: no level 9; there are 1, 2, 3"):
        make_data(load_recipe("tiny", ["world.label_levels=[1, 9]"]), tmp_path / "data", token_counter)


def test_long_prompts_are_counted_in_the_models_own_tokens(tmp_path: Path, tiny_model: Path):
    rows = [*preferences(40), BASE | {"prompt": "why? " * 3000}]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    recipe = recipe_of(tmp_path, {"path": str(path), "drop": ["too_long"]}, max_prompt_tokens=5000)
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"path": str(tiny_model)})})
    manifest, _ = mixed(recipe, None)
    assert manifest.sources[0].dropped == {"too_long": 1}


def test_a_tokenizer_without_chat_template_is_named(tmp_path: Path, tiny_model: Path):
    import shutil

    bare = shutil.copytree(tiny_model, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    path = write_rows(tmp_path / "rows.jsonl", preferences(40))
    recipe = recipe_of(tmp_path, {"path": str(path)})
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"path": str(bare)})})
    with pytest.raises(RecipeError, match="no chat template"):
        mixed(recipe, None)
