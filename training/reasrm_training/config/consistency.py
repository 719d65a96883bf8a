"""What the tables of a recipe must agree on: one check per rule. Each check yields messages for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reasrm_training.config.recipe import Recipe


def _pairs(recipe: Recipe) -> Iterator[str]:
    data = recipe.data
    if (data is None) == (recipe.world is None):
        yield "give either [data] (a mix of preference data) or [world] (generated tasks), not both"
    if data and recipe.distill and not data.distill:
        yield "[distill] needs chains: give data.distill, the number of rows that get one"
    if data and recipe.evaluate and not data.heldout:
        yield "[evaluate] needs pairs: give data.heldout, the number of rows to measure on"


def _sampling_gpus(recipe: Recipe) -> Iterator[str]:
    rollouts, gpus = recipe.rollouts, recipe.cluster.gpus
    if rollouts.gpus and rollouts.gpus >= gpus:
        yield f"rollouts.gpus ({rollouts.gpus}) leaves no GPU of a node to train on (cluster.gpus is {gpus})"
    elif rollouts.gpus and (rollouts.backend == "transformers" or (rollouts.backend == "vllm" and not rollouts.url)):
        yield f"rollouts.gpus: {rollouts.backend} samples on the GPUs that train, so these would idle; leave it out"


def _sglang_weights(recipe: Recipe) -> Iterator[str]:
    lora = recipe.model.lora
    if lora is None or recipe.rlvr is None or recipe.rollouts.backend != "sglang":
        return
    if lora.four_bit:
        yield 'rollouts.backend: "sglang" needs whole weights; take another, or drop model.lora.four_bit'
    if "embed_tokens" in lora.targets:
        yield 'rollouts.backend: "sglang" takes no adapters to embeddings; drop embed_tokens from model.lora.targets'


def _sglang_engines(recipe: Recipe) -> Iterator[str]:
    rollouts, cluster = recipe.rollouts, recipe.cluster
    if rollouts.backend != "sglang" or rollouts.url or not cluster.gpus:
        return
    size = rollouts.tensor_parallel
    if recipe.sampling_gpus % size:
        yield f"rollouts.tensor_parallel ({size}) does not divide the {recipe.sampling_gpus} GPUs of a node that sample"
    elif rollouts.weights == "tensors" and (rollouts.gpus != size or cluster.nodes > 1):
        # NCCL joins no two processes on one GPU, and SGLang takes a broadcast only if it is one engine.
        yield (
            'rollouts.weights: "tensors" needs one node and one engine on GPUs of its own (rollouts.gpus = '
            f'rollouts.tensor_parallel = {size}); take "disk"'
        )


def _batches(recipe: Recipe) -> Iterator[str]:
    distill, rlvr = recipe.distill, recipe.rlvr
    if distill:
        yield from _divisible(recipe, "distill.batch", distill.batch, "distill.micro_batch", distill.micro_batch)
    if rlvr:
        replies = rlvr.mini_batch * rlvr.generations
        yield from _divisible(recipe, "rlvr.mini_batch x generations", replies, "rlvr.micro_batch", rlvr.micro_batch)


def _divisible(recipe: Recipe, batch: str, size: int, part: str, part_size: int) -> Iterator[str]:
    if size % (recipe.trainers * part_size):
        yield f"{batch} ({size}) must be a multiple of {part} x {recipe.trainers} training processes"


CHECKS: tuple[Callable[[Recipe], Iterator[str]], ...] = (_pairs, _sampling_gpus, _sglang_weights, _sglang_engines, _batches)


def first_mistake(recipe: Recipe) -> str | None:
    """The first thing in `recipe` that its tables disagree on, None where they agree."""
    return next((mistake for check in CHECKS for mistake in check(recipe)), None)
