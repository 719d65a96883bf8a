"""Examples out of the generated world, in the form that a mix of preference data has."""

from __future__ import annotations

from reasrm.errors import RecipeError
from reasrm.types import Order
from reasrm_training.config.data import World
from reasrm_training.config.recipe import Recipe
from reasrm_training.data.examples import Part, PreferenceExample
from reasrm_training.world import FAMILIES, LEVELS, WorldTask, generate


def world_of(recipe: Recipe) -> World:
    """The recipe's world. Raises RecipeError where it has none, or names a family or a level that does not exist."""
    world = recipe.world
    if world is None:
        raise RecipeError(f"{recipe.name}: has no [world]")
    if unknown := sorted(set(world.families) - set(FAMILIES)):
        raise RecipeError(f"world.families: no family {unknown[0]!r}; there are {', '.join(FAMILIES)}")
    for key in ("chain_levels", "label_levels", "heldout_levels"):
        if unknown := sorted(set(getattr(world, key)) - set(LEVELS)):
            raise RecipeError(f"world.{key}: no level {unknown[0]}; there are {', '.join(map(str, LEVELS))}")
    return world


def generated_tasks(recipe: Recipe, part: Part) -> list[WorldTask]:
    """The tasks behind a part's examples, in their order. The held-out tasks are the same for every seed."""
    world = world_of(recipe)
    families = world.families or None
    if part == "heldout":
        return generate(0, world.heldout, "heldout", families, world.heldout_levels)
    if part == "distill":
        return generate(2 * recipe.seed, world.chains, "train", families, world.chain_levels)
    return generate(2 * recipe.seed + 1, world.labels, "train", families, world.label_levels)


def generated_examples(recipe: Recipe, part: Part) -> list[PreferenceExample]:
    """The examples of a part."""
    return [example_of(task, order_of(recipe, index)) for index, task in enumerate(generated_tasks(recipe, part))]


def example_of(task: WorldTask, order: Order) -> PreferenceExample:
    """`task` as an example, with its responses in `order`."""
    a, b = task.responses(order)
    fields = {"question": task.question, "a": a, "b": b, "winner": task.winner(order)}
    return PreferenceExample.model_validate(fields | {"id": task.id, "source": "world", "subset": f"{task.family}/{task.level}"})


def order_of(recipe: Recipe, index: int) -> Order:
    """The order in which the task at `index` is shown. Families come in turn, and orders alternate within each and overall."""
    turn, family = divmod(index, len(world_of(recipe).families or FAMILIES))
    return "ab" if (turn + family) % 2 == 0 else "ba"
