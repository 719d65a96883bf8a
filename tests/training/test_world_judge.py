"""The judge that comes with the package: its card names these weights, and it judges as well as its card says."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import reasrm_serving
import yaml
from reasrm_training.config.recipes import load_recipe
from reasrm_training.data.from_world import generated_examples
from reasrm_training.measure.evaluate import Evaluation, evaluate
from reasrm_training.measure.generation import by_model
from reasrm_training.world import FAMILIES
from reasrm_training.world.domain import domain

from reasrm.prompts import load_pack

JUDGE = Path(reasrm_serving.__file__).parent / "judge"
PAIRS = 30 * len(FAMILIES)


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    """The front matter of the judge's card."""
    return yaml.safe_load((JUDGE / "README.md").read_text(encoding="utf-8").split("---")[1])


@pytest.fixture(scope="module")
def measured() -> Evaluation:
    """The judge, measured again on some held-out tasks of the recipe that made it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(JUDGE)
    tokenizer = AutoTokenizer.from_pretrained(JUDGE, padding_side="left")
    examples = generated_examples(load_recipe("tiny"), "heldout")[:PAIRS]
    return evaluate(examples, by_model(model, tokenizer, max_tokens=256), load_pack("world"), b"")


def test_the_card_names_these_weights(card: dict[str, Any]) -> None:
    assert card["weights_sha256"] == hashlib.sha256((JUDGE / "model.safetensors").read_bytes()).hexdigest()


def test_the_embedded_judge_is_small() -> None:
    assert (JUDGE / "model.safetensors").stat().st_size <= 12_000_000
    config = json.loads((JUDGE / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]


def test_the_domain_of_the_judge_is_that_of_the_world() -> None:
    assert json.loads((JUDGE / "domain.json").read_text()) == domain()


def test_the_judge_is_as_accurate_as_its_card_says(card: dict[str, Any], measured: Evaluation) -> None:
    for figure, claimed in (
        (measured.greedy.accuracy, card["accuracy"]),
        (measured.greedy.order_consistency, card["order_consistency"]),
        (measured.greedy.format, card["format"]),
    ):
        assert figure.value is not None
        assert figure.value >= claimed - 3 * math.sqrt(max(claimed * (1 - claimed), 0.01) / PAIRS)


def test_every_family_is_judged_better_than_chance_unless_the_card_names_it(card: dict[str, Any], measured: Evaluation) -> None:
    for family in set(FAMILIES) - {subset.partition("/")[0] for subset in card["weak"]}:
        values = [part.accuracy for name, part in measured.subsets.items() if name.startswith(f"{family}/")]
        right = sum((figure.value or 0.0) * figure.n for figure in values) / sum(figure.n for figure in values)
        assert right > 0.65, family  # about 40 pairs per family: chance plus two standard errors
