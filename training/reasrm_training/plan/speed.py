"""The seconds that training and sampling take. An estimate: operations and memory traffic over what the GPU is built for.

They are multiplied by the shares of it that such work usually reaches.
"""

from __future__ import annotations

from reasrm_training.config.recipe import Recipe
from reasrm_training.config.training import Rlvr
from reasrm_training.plan.gpus import Gpu
from reasrm_training.plan.memory import BF16, kv_bytes
from reasrm_training.plan.shapes import Decoder, block_parameters, head_dim, parameters

TRAINING_SHARE = 0.40  # of the GPU's operations, in training
SAMPLING_SHARE = 0.60  # of its memory traffic, in decoding
STEP_S = {"sglang": 0.004, "vllm": 0.004, "transformers": 0.030}  # of one decoding step, besides memory traffic
SERVER_SHARE = 0.85  # of a GPU's memory that a sampling engine uses if it has the GPU to itself


def forward_flops(shape: Decoder, length: int) -> float:
    """The operations for one token in a sequence of `length`: two per weight, and attention over half of it on average."""
    weights = shape.num_hidden_layers * block_parameters(shape) + shape.vocab_size * shape.hidden_size
    return 2.0 * weights + 2.0 * shape.num_hidden_layers * shape.num_attention_heads * head_dim(shape) * length


def training_flops(recipe: Recipe, shape: Decoder, length: int) -> float:
    """The operations for one token in training.

    One forward pass, another with checkpointing, and a backward pass that costs two, or one where the weights are frozen.
    """
    passes = 1 + recipe.model.gradient_checkpointing + (1 if recipe.model.lora else 2)
    return passes * forward_flops(shape, length)


def training_seconds(recipe: Recipe, gpu: Gpu, flops: float) -> float:
    """The time for `flops` operations over all training processes."""
    return flops / (recipe.trainers * gpu.flops * TRAINING_SHARE)


def sampling_seconds(recipe: Recipe, stage: Rlvr, shape: Decoder, gpu: Gpu, prompt: int, reply: int) -> float:
    """The time to sample all replies of `reply` tokens to prompts of `prompt` tokens.

    Decoding reads the weights and the cache of every running reply once per token. Memory decides how many replies run at once.
    """
    rollouts = recipe.rollouts
    engines = max(1.0, recipe.cluster.nodes * recipe.sampling_gpus / rollouts.tensor_parallel)
    replies = stage.prompts * stage.generations / engines
    length = prompt + reply / 2
    share = SERVER_SHARE if rollouts.gpus else rollouts.memory_fraction
    weights = BF16 * parameters(shape)
    room = max(0.0, share * gpu.memory * rollouts.tensor_parallel - weights)
    running = max(1.0, min(replies, room / (length * kv_bytes(shape))))
    if rollouts.backend == "transformers":
        running = replies
    traffic = (weights + running * length * kv_bytes(shape)) / (gpu.bandwidth * rollouts.tensor_parallel * SAMPLING_SHARE)
    compute = running * forward_flops(shape, round(length)) / (gpu.flops * rollouts.tensor_parallel * TRAINING_SHARE)
    decoding = replies / running * reply * (max(traffic, compute) + STEP_S[rollouts.backend])
    prefill = stage.prompts / engines * prompt * forward_flops(shape, prompt)
    return stage.steps * (decoding + prefill / (gpu.flops * rollouts.tensor_parallel * TRAINING_SHARE))
