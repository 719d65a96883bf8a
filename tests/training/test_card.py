"""The card of a trained judge: all of its content comes from the files of the run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml
from reasrm_training.config.recipe import Recipe
from reasrm_training.config.recipes import load_recipe
from reasrm_training.measure.evaluate import Evaluation
from reasrm_training.report.card import CURVES, card, weak_subsets, write_card


def share(value: float) -> dict[str, float]:
    return {"value": value, "stderr": 0.01, "n": 500}


def evaluation(accuracy: float) -> Evaluation:
    names = ("accuracy_of_verdicts", "order_consistency", "format", "p_a", "no_verdict")
    greedy = {"accuracy": share(accuracy), "tokens": 80.0} | {name: share(0.5) for name in names}
    return Evaluation.model_validate({"model": "abc", "prompts": "world@1", "pairs": 500, "greedy": greedy})


@pytest.fixture
def finished(tmp_path: Path) -> Recipe:
    """A recipe whose run has left metrics, measurements and manifests."""
    recipe = load_recipe("tiny", [f"output={json.dumps(str(tmp_path))}", "rlvr.steps=77"])
    files = {
        "distill/metrics.jsonl": "".join(json.dumps({"step": n, "loss": 2.0 / (n + 1)}) + "\n" for n in range(20)) + '{"step": 2',
        "rlvr/metrics.jsonl": "".join(
            json.dumps({"step": n, "reward": n / 20, "entropy": 0.4, "kl": 0.0}) + "\n" for n in range(20)
        ),
        "evaluate/distill.json": evaluation(0.751).model_dump_json(),
        "evaluate/rlvr.json": evaluation(0.932).model_dump_json(),
        "data/manifest.json": json.dumps({"sources": [], "parts": {"distill": {"rows": 1234}}}),
        "chains/manifest.json": json.dumps({"kept": {"first": 900, "second": 300}, "examples": 1234}),
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    return recipe


def test_a_card_has_the_recipe_the_table_the_data_and_the_curves(finished: Recipe, tmp_path: Path):
    text = write_card(finished, tmp_path / "export").read_text(encoding="utf-8")
    assert "| distill | 500 | 75.1 ± 1.0" in text
    assert "| rlvr | 500 | 93.2 ± 1.0" in text
    assert '"steps": 77' in text
    assert finished.digest in text
    assert "- distill: 1,234 pairs" in text
    assert "- chains: 900 from the first oracle, 300 from the second oracle, of 1,234 examples" in text
    assert f"]({CURVES})" in text
    assert (tmp_path / "export" / CURVES).read_bytes().startswith(b"\x89PNG")


def test_the_card_says_that_a_judge_is_of_the_generated_world(finished: Recipe):
    sentence = "It is a judge of generated tasks and of nothing else."
    assert sentence in card(finished, {}, curves=False)
    assert sentence not in card(load_recipe("qwen3-8b"), {}, curves=False)


def test_hubs_can_read_the_front_matter(finished: Recipe):
    from huggingface_hub import ModelCardData
    from huggingface_hub.repocard import ModelCard

    read = ModelCard(card(load_recipe("qwen3-8b"), {}, curves=False)).data
    assert isinstance(read, ModelCardData)
    assert (read.base_model, read.license, read.library_name) == ("Qwen/Qwen3-8B", "apache-2.0", "transformers")
    assert "reward-model" in (read.tags or [])


def test_the_card_claims_nothing_that_was_not_measured_or_logged(tmp_path: Path):
    recipe = load_recipe("tiny", [f"output={json.dumps(str(tmp_path))}"])
    text = write_card(recipe, tmp_path / "export").read_text(encoding="utf-8")
    assert "It was not measured" in text
    assert "curves" not in text.lower()
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["README.md"]


def test_the_same_run_gives_the_same_card_and_picture(finished: Recipe, tmp_path: Path):
    for name in ("one", "two"):
        write_card(finished, tmp_path / name)
    for file in ("README.md", CURVES):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_the_card_does_not_say_where_it_was_made(finished: Recipe, tmp_path: Path):
    assert str(tmp_path) not in write_card(finished, tmp_path / "export").read_text(encoding="utf-8")


def test_the_front_matter_names_the_weights_their_accuracy_and_their_weak_subsets(finished: Recipe, tmp_path: Path):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "model.safetensors").write_bytes(b"weights")
    front = yaml.safe_load(write_card(finished, tmp_path / "export").read_text(encoding="utf-8").split("---")[1])
    assert front["weights_sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert (front["accuracy"], front["pairs"], front["weak"]) == (0.932, 500, [])


def test_a_subset_within_two_standard_errors_of_one_half_is_weak():
    whole = evaluation(0.9)
    subsets = {"edits/3": evaluation(0.51).greedy, "edits/1": evaluation(0.53).greedy}
    assert weak_subsets(whole.model_copy(update={"subsets": subsets})) == ["edits/3"]
