"""Texts on which two tokenizers show whether they are the same: many scripts, code, digits, white space, emoji, control tokens."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from reasrm_training.world import generate

#: Lists of texts by what they hold: prose, emoji, digits, code, spaces, verdicts.
FIXED: dict[str, list[str]] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
MIXED_TEXTS, MIXED_CHARS, WORLD_TASKS, SEED = 200, 40, 60, 3


def texts(control: Sequence[str], prompts: Sequence[str]) -> list[str]:
    """The texts for a tokenizer with the `control` tokens, and a judge with these `prompts`."""
    fixed = [*chain.from_iterable(FIXED.values()), *prompts]
    return [*fixed, *_with_control(control), *_mixed("".join(fixed)), *_world()]


def _with_control(control: Sequence[str]) -> Iterator[str]:
    """Each control token at the edge of words, lines and spaces, and next to another one."""
    for token in control:
        yield f"{token}word{token} word {token}\nline\n{token}\n\n 7{token}8  {token}{token}, {token[:-1]} {token[1:]}"
    yield "".join(control)


def _mixed(alphabet: str) -> Iterator[str]:
    """Texts of random neighbours: characters that never meet in prose, where the rules that cut texts show their edges."""
    rng = random.Random(SEED)
    edges = " \n\t'.,0123456789abcXYZ_-"
    for _ in range(MIXED_TEXTS):
        yield "".join(rng.choice(alphabet) if rng.random() < 0.5 else rng.choice(edges) for _ in range(MIXED_CHARS))


def _world() -> Iterator[str]:
    """Questions, responses and chains of the generated world, which reasrm's own small judges are trained on."""
    for task in generate(SEED, WORLD_TASKS):
        a, b = task.responses("ab")
        prompt = f"<question>{task.question}</question>\n<response_A>{a}</response_A>\n<response_B>{b}</response_B>"
        yield f"{prompt}\n{task.chain('ab')}"
