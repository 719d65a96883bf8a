"""The prompts of RL: each with the verdict that is right, in the order in which a run takes them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from reasrm.prompts import Pack
from reasrm.types import Message, Order, Side
from reasrm_training.config.recipe import Recipe
from reasrm_training.config.training import Rlvr
from reasrm_training.data.examples import PreferenceExample


@dataclass(frozen=True, slots=True)
class LabelledPrompt:
    """A prompt whose right verdict is known. `pair` is the id of the pair, which the prompt shows in `order`."""

    messages: tuple[Message, ...]
    gold: Side
    pair: str
    order: Order = "ab"
    strength: float | None = None


def labelled_prompts(examples: Iterable[PreferenceExample], recipe: Recipe, pack: Pack) -> Iterator[LabelledPrompt]:
    """Each example as prompts: in both orders, or with `orders = "one"` only as given."""
    both = recipe.rlvr is None or recipe.rlvr.orders == "both"
    orders: tuple[Order, ...] = ("ab", "ba") if both else ("ab",)
    for example in examples:
        for order in orders:
            shown = example if order == "ab" else example.swapped()
            messages = pack.render(shown.pair, recipe.fence_key)
            yield LabelledPrompt(messages, shown.winner, example.id, order, example.strength)


def schedule(prompts: Sequence[LabelledPrompt], stage: Rlvr, seed: int) -> list[LabelledPrompt]:
    """The prompts of all steps in order, a function of `seed` alone: every prompt once, shuffled, before any comes again.

    Both orders of a pair stand side by side, so that they meet in one batch.
    """
    pairs: dict[str, list[LabelledPrompt]] = {}
    for prompt in prompts:
        pairs.setdefault(prompt.pair, []).append(prompt)
    groups = list(pairs.values())
    rng = random.Random(seed)
    out: list[LabelledPrompt] = []
    while len(out) < stage.steps * stage.prompts:
        rng.shuffle(groups)
        out.extend(prompt for group in groups for prompt in group)
    return out[: stage.steps * stage.prompts]
