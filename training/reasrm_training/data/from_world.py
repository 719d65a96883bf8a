"""Data and chains out of the generated world, in the form that mixes and oracles have."""

from __future__ import annotations

from collections import Counter

from reasrm.errors import RecipeError
from reasrm.prompts import load_pack
from reasrm.types import Order
from reasrm_training.config.recipe import Recipe, World
from reasrm_training.data.examples import PreferenceExample, Part
from reasrm_training.oracle.examiner import Chain, Pass, chain_of, problem_of
from reasrm_training.world import FAMILIES, LEVELS, WorldTask, generate
from reasrm_training.world.oracle import careful_chain, careless_chain


def generated_tasks(recipe: Recipe, part: Part) -> list[WorldTask]:
    """The tasks behind a part's examples, in their order. The held-out ones are the same for every seed."""
    world = _world(recipe)
    families = world.families or None
    if part == "heldout":
        return generate(0, world.heldout, "heldout", families, world.heldout_levels)
    if part == "distill":
        return generate(2 * recipe.seed, world.chains, "train", families, world.chain_levels)
    return generate(2 * recipe.seed + 1, world.labels, "train", families, world.label_levels)


def generated_examples(recipe: Recipe, part: Part) -> list[PreferenceExample]:
    """A part's tasks as examples."""
    return [_example(task, order_of(recipe, i)) for i, task in enumerate(generated_tasks(recipe, part))]


def _example(task: WorldTask, order: Order) -> PreferenceExample:
    a, b = task.responses(order)
    fields = {"question": task.question, "a": a, "b": b, "winner": task.winner(order)}
    return PreferenceExample.model_validate(fields | {"id": task.id, "source": "world", "subset": f"{task.family}/{task.level}"})


def order_of(recipe: Recipe, index: int) -> Order:
    """In which order the task at `index` is shown: families come in turn, and the orders alternate within each and over all."""
    turn, family = divmod(index, len(_world(recipe).families or FAMILIES))
    return "ab" if (turn + family) % 2 == 0 else "ba"


def generated_chains(recipe: Recipe, key: bytes) -> tuple[list[Chain], dict[str, int]]:
    """Chains of the world's own two oracles, and how many of the first one's failed: careless first, careful second."""
    world, pack = _world(recipe), load_pack(recipe.prompts)
    chains: list[Chain] = []
    failed: Counter[str] = Counter()
    for index, task in enumerate(generated_tasks(recipe, "distill")):
        order = order_of(recipe, index)
        step: Pass = "first"
        example, reply = _example(task, order), careless_chain(task, order, world.slip)
        if world.passes == 0:
            reply = f"<answer>[[{example.winner}]]</answer>"
        elif problem := problem_of(reply, example.winner, pack.kind):
            failed[problem] += 1
            if world.passes == 1:
                continue
            step, reply = "second", careful_chain(task, order)
        chains.append(chain_of(example, pack.render(example.pair, key), reply, step))
    return chains, dict(failed)


def _world(recipe: Recipe) -> World:
    world = recipe.world
    if world is None:
        raise RecipeError(f"{recipe.name}: has no [world]")
    if unknown := sorted(set(world.families) - set(FAMILIES)):
        raise RecipeError(f"world.families: no family {unknown[0]!r}; there are {', '.join(FAMILIES)}")
    for key in ("chain_levels", "label_levels", "heldout_levels"):
        if unknown := sorted(set(getattr(world, key)) - set(LEVELS)):
            raise RecipeError(f"world.{key}: no level {unknown[0]}; there are {', '.join(map(str, LEVELS))}")
    return world
