"""The memory that training takes on one GPU, by part. It was compared with PyTorch's own count (tests/training/test_plan.py)."""

from __future__ import annotations

from reasrm_training.config.recipe import Recipe
from reasrm_training.config.training import Rlvr
from reasrm_training.plan.gpus import Gpu
from reasrm_training.plan.shapes import (
    Decoder,
    block_parameters,
    embedding_parameters,
    head_dim,
    kv_width,
    linears,
    parameters,
    trained_parameters,
)

BF16, FP32 = 2, 4
ADAM = 8  # two moments in fp32
NF4 = 0.53  # bytes per weight, scales included
CONTEXT = 1.2e9  # of a GPU, taken by the driver, the libraries and the allocator


def shards(recipe: Recipe) -> int:
    """The number of GPUs over which weights, gradients and optimizer states are split."""
    return recipe.trainers if recipe.cluster.sharding != "none" else 1


def training_memory(recipe: Recipe, shape: Decoder, tokens: int, precision: str) -> dict[str, float]:
    """Bytes by part on a GPU that holds `tokens` tokens at a time."""
    split, lora = shards(recipe), recipe.model.lora
    total, trained = parameters(shape), trained_parameters(shape, lora)
    # A bf16 copy of the weights in use: of all under autocast, of two blocks and the embeddings where they are sharded.
    copied = 2 * block_parameters(shape) + embedding_parameters(shape) if split > 1 else 0 if lora else total
    copies = BF16 * copied if precision == "bf16" or split > 1 else 0.0
    return {
        "weights": (_frozen_bytes(recipe, shape) + FP32 * trained) / split,
        "gradients": FP32 * trained / split,
        "optimizer": ADAM * trained / split,
        "working copies": copies,
        "activations": activation_bytes(recipe, shape, tokens, precision, sharded=split > 1, copies=copies),
        "context": CONTEXT if recipe.cluster.gpus else 0.0,
    }


def _frozen_bytes(recipe: Recipe, shape: Decoder) -> float:
    """The weights under the adapters, where there are adapters: in bf16, or the linear layers in NF4."""
    lora, total = recipe.model.lora, parameters(shape)
    if lora is None:
        return 0.0
    in_blocks = sum(i * o for i, o in linears(shape).values()) * shape.num_hidden_layers
    return in_blocks * NF4 + (total - in_blocks) * BF16 if lora.four_bit else total * BF16


def activation_bytes(recipe: Recipe, shape: Decoder, tokens: int, precision: str, *, sharded: bool, copies: float = 0.0) -> float:
    """The bytes that the backward pass needs.

    With checkpointing these are each block's input, and all of one block while it is computed again. Under autocast the stream
    between blocks is as wide as the weights, fp32; the products inside a block are bf16.
    """
    stream = BF16 if precision == "bf16" and (sharded or recipe.model.lora) else FP32
    product = BF16 if precision == "bf16" else FP32
    queries, wide, hidden = shape.num_attention_heads * head_dim(shape), shape.intermediate_size, shape.hidden_size
    # The two norms keep their inputs, fp32 forms and outputs; attention its inputs and output; the gate all three products.
    block = hidden * (3 * stream + 4 * FP32 + 2 * product) + product * (4 * queries + 4 * kv_width(shape) + 4 * wide)
    if recipe.model.lora:
        block += product * (5 * hidden + queries + wide)  # each adapter keeps a copy of its layer's input
    head = tokens * hidden * FP32 + (shape.vocab_size * hidden * FP32 if not recipe.model.lora else 0)
    if not recipe.model.gradient_checkpointing:
        return shape.num_hidden_layers * tokens * block + head
    again = tokens * (block + product * 3 * wide + FP32 * 2 * hidden)  # with the block's own gradients
    if not sharded:  # by then autocast has freed its copies, except those of one block
        again = max(0.0, again + (BF16 * block_parameters(shape) if copies else 0.0) - copies)
    return shape.num_hidden_layers * tokens * hidden * stream + max(again, head)


def kv_bytes(shape: Decoder) -> int:
    """The bytes of one token in the KV cache, in bf16."""
    return 2 * shape.num_hidden_layers * kv_width(shape) * BF16


def sampling_memory(recipe: Recipe, stage: Rlvr, shape: Decoder, gpu: Gpu) -> float:
    """The bytes that sampling takes of a GPU that also trains: none, the engine's share, or transformers' KV cache."""
    if recipe.rollouts.gpus:
        return 0.0
    if recipe.rollouts.backend != "transformers":
        return recipe.rollouts.memory_fraction * gpu.memory if recipe.cluster.gpus else 0.0
    at_once = stage.prompts * stage.generations / recipe.trainers
    return at_once * (stage.max_prompt_tokens + stage.max_completion_tokens) * kv_bytes(shape)


def disk_bytes(recipe: Recipe, shape: Decoder) -> int:
    """The most bytes that the folder of a run holds at a time.

    For each training stage these are three checkpoints (weights and optimizer) and its model; then the export.
    """
    stages = sum(stage is not None for stage in (recipe.distill, recipe.rlvr))
    trained = trained_parameters(shape, recipe.model.lora)
    return stages * (3 * (FP32 + ADAM) + FP32) * trained + FP32 * parameters(shape)
