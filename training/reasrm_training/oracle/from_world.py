"""Chains of the generated world, whose two oracles are programs: the first is careless at times, the second is careful."""

from __future__ import annotations

from collections import Counter

from reasrm.prompts import load_pack
from reasrm_training.config.recipe import Recipe
from reasrm_training.data.from_world import example_of, generated_tasks, order_of, world_of
from reasrm_training.oracle.examiner import Chain, Pass, chain_of, problem_of
from reasrm_training.world.oracle import careful_chain, careless_chain


def generated_chains(recipe: Recipe, key: bytes) -> tuple[list[Chain], dict[str, int]]:
    """The chains, and how many of the first oracle's failed, by problem. `key` is the secret behind the prompts' fences."""
    world, pack = world_of(recipe), load_pack(recipe.prompts)
    chains: list[Chain] = []
    failed: Counter[str] = Counter()
    for index, task in enumerate(generated_tasks(recipe, "distill")):
        order = order_of(recipe, index)
        step: Pass = "first"
        example, reply = example_of(task, order), careless_chain(task, order, world.slip)
        if world.passes == 0:
            reply = f"<answer>[[{example.winner}]]</answer>"
        elif problem := problem_of(reply, example.winner, pack.kind):
            failed[problem] += 1
            if world.passes == 1:
                continue
            step, reply = "second", careful_chain(task, order)
        chains.append(chain_of(example, pack.render(example.pair, key), reply, step))
    return chains, dict(failed)
