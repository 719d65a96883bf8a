"""Training runs that take seconds: a chat model with random weights learns which of two numbers is larger."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from reasrm_training.config.recipe import Recipe
from reasrm_training.data.examples import PreferenceExample
from reasrm_training.model import libraries
from reasrm_training.oracle import Chain
from reasrm_training.rl.prompts import LabelledPrompt

from reasrm.types import Message, Side
from tests.components import ROOT, SGLANG_VENV

WORLD = {"chains": 8, "chain_levels": [1], "labels": 8, "label_levels": [1], "heldout_levels": [1]}
DISTILL = {"batch": 8, "micro_batch": 8, "steps": 4, "learning_rate": 3e-3, "max_length": 64, "packing": False, "precision": "fp32"}
LENIENT = {"min_format": 0.0, "max_length_share": 1.0, "min_entropy": 0.0}
RLVR = {
    "steps": 2,
    "prompts": 4,
    "mini_batch": 4,
    "generations": 4,
    "micro_batch": 16,
    "learning_rate": 1e-3,
    "kl": 0.0,
    "max_completion_tokens": 12,
    "precision": "fp32",
    "guard": LENIENT,
}


def recipe(path: Path, output: Path, /, *, distill: Any = None, rlvr: Any = None, **rest: Any) -> Recipe:
    """A recipe over the model in `path`, with small settings that the arguments override."""
    settings = {
        "name": "small",
        "output": str(output),
        "model": {"path": str(path), "gradient_checkpointing": False, **rest.pop("model", {})},
        "world": WORLD,
        "distill": DISTILL | (distill or {}),
        "rlvr": RLVR | (rlvr or {}),
    }
    libraries.quiet()
    return Recipe.model_validate(settings | rest)


def sglang_command() -> str:
    """How a run starts an SGLang of its own, on the CPU."""
    python, shim = SGLANG_VENV / "bin" / "python", ROOT / "deploy" / "sglang-cpu" / "shim"
    if not python.exists():
        pytest.fail(f"SGLang is not installed in {SGLANG_VENV}; install it with: make sglang", pytrace=False)
    return (
        f"env PYTHONPATH={shim} SGLANG_USE_CPU_ENGINE=1 OMP_NUM_THREADS=1 TORCHDYNAMO_DISABLE=1 HF_HUB_OFFLINE=1 {python} "
        "-m sglang.launch_server --device cpu --attention-backend torch_native --max-total-tokens 16384"
    )


def _numbers(count: int, seed: int) -> list[tuple[int, int, Side]]:
    rng = random.Random(seed)
    pairs = [rng.sample(range(1, 10), 2) for _ in range(count)]
    return [(a, b, "A" if a > b else "B") for a, b in pairs]


def _ask(a: int, b: int) -> tuple[Message, ...]:
    return (Message(role="user", content=f"{a} {b}"),)


def chains(count: int, seed: int = 0) -> list[Chain]:
    """Chains of a dozen tokens."""
    return [
        Chain(id=str(i), source="s", winner=side, messages=_ask(a, b), reply=f"<answer>[[{side}]]</answer>", oracle="first")
        for i, (a, b, side) in enumerate(_numbers(count, seed))
    ]


def tasks(count: int, seed: int = 1) -> list[LabelledPrompt]:
    """`count` pairs, each in both orders."""
    return [
        LabelledPrompt(_ask(x, y), "A" if x > y else "B", str(i), order)
        for i, (a, b, _) in enumerate(_numbers(count, seed))
        for order, (x, y) in (("ab", (a, b)), ("ba", (b, a)))
    ]


def heldout(*subsets: str) -> list[PreferenceExample]:
    """One pair per subset."""
    row = {"source": "s", "question": "3 5", "a": "three", "b": "five", "winner": "B"}
    return [PreferenceExample.model_validate(row | {"id": f"{i}", "subset": subset}) for i, subset in enumerate(subsets)]
