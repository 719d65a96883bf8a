"""What a recipe will need, before anything is spent: memory of a GPU by part, tokens, hours, disk, oracle money.

Memory follows from the shape and the sharding; it was held against what PyTorch counts (see tests). Hours are an estimate:
operations and memory traffic over what the GPU is built for, times the shares of it that such work usually reaches.
"""

from __future__ import annotations

import os
import shlex

from pydantic import PositiveInt

from reasrm.types import Frozen
from reasrm_training.config.recipe import Distill, Recipe, Rlvr, Stage
from reasrm_training.config.recipes import FOLDER
from reasrm_training.plan.shapes import (
    Decoder,
    Gpu,
    adapter_parameters,
    block_parameters,
    embedding_parameters,
    gpu_named,
    head_dim,
    kv_width,
    linears,
    parameters,
    shape_of,
)

BF16, FP32 = 2, 4
ADAM = 8  # two moments in fp32
NF4 = 0.53  # bytes a weight, its scales included
CONTEXT = 1.2e9  # the driver's, the libraries' and the allocator's own share of a GPU

TRAINING_SHARE = 0.40  # of the GPU's operations, in training
SAMPLING_SHARE = 0.60  # of its memory traffic, in decoding
STEP_S = {"sglang": 0.004, "vllm": 0.004, "transformers": 0.030}  # of one decoding step, besides memory traffic
SERVER_SHARE = 0.85  # of a GPU's memory that a sampling engine uses where it has the GPU to itself
PROMPT_SHARE, REPLY_SHARE = 0.30, 0.15  # mean lengths over their limits, where nobody says them
CPU_FLOPS, CPU_BANDWIDTH = 0.25e12, 20e9  # two cores


class Lengths(Frozen):
    """Mean tokens of a prompt and of a reply."""

    prompt: PositiveInt
    reply: PositiveInt


class StagePlan(Frozen):
    """A training stage. `memory` in bytes on one GPU, by part; tokens over all GPUs; `hours` by kind of work."""

    stage: Stage
    memory: dict[str, float]
    limit: float
    trained_tokens: float
    sampled_tokens: float
    hours: dict[str, float]

    @property
    def fits(self) -> bool:
        """Whether the parts fit into the GPU together."""
        return sum(self.memory.values()) <= self.limit


class OraclePlan(Frozen):
    """The chains: requests and tokens if a quarter of the first pass fails, and their price."""

    requests: float
    prompt_tokens: float
    reply_tokens: float
    usd: float


class Plan(Frozen):
    """Everything about a recipe's needs."""

    recipe: str
    parameters: int
    trained_parameters: int
    trainers: int
    lengths: Lengths
    oracle: OraclePlan | None
    stages: tuple[StagePlan, ...]
    disk: float
    command: str

    @property
    def hours(self) -> float:
        """Of all training stages."""
        return sum(sum(stage.hours.values()) for stage in self.stages)


def plan(recipe: Recipe, lengths: Lengths | None = None, source: str | None = None) -> Plan:
    """What `recipe` needs, with the command that starts it (`source`: see there). `lengths` are the data's, where known.

    Raises RecipeError for models and GPUs that are not known.
    """
    shape = shape_of(recipe.model)
    mean = lengths or usual_lengths(recipe)
    gpu = gpu_named(recipe.cluster.gpu) if recipe.cluster.gpus else _cpu()
    stages: list[StagePlan] = []
    if recipe.distill:
        stages.append(_distill(recipe, recipe.distill, shape, gpu, mean))
    if recipe.rlvr:
        stages.append(_rlvr(recipe, recipe.rlvr, shape, gpu, mean))
    return Plan(
        recipe=recipe.name,
        parameters=parameters(shape),
        trained_parameters=_trained(recipe, shape),
        trainers=recipe.trainers,
        lengths=mean,
        oracle=_oracle(recipe, mean),
        stages=tuple(stages),
        disk=disk_bytes(recipe, parameters(shape), _trained(recipe, shape)),
        command=launch_command(recipe, source or recipe.name),
    )


def launch_command(recipe: Recipe, source: str) -> str:
    """The command that starts the run of `source`, a recipe and what is changed in it; on several nodes, the one for each."""
    if recipe.cluster.nodes == 1:
        return f"reasrm train run {source}"
    machines = f"--num_machines {recipe.cluster.nodes} --machine_rank $RANK --main_process_ip $HEAD --main_process_port 29500"
    processes = f"{machines} --num_processes {recipe.trainers} -m reasrm.cli train run {source}"
    return f"accelerate launch {shlex.join(accelerate_flags(recipe))} {processes}"


def accelerate_flags(recipe: Recipe) -> list[str]:
    """What accelerate is told about how the recipe's processes share the model."""
    if recipe.cluster.sharding == "none":
        return ["--multi_gpu", "--mixed_precision", "no", "--dynamo_backend", "no"]
    return ["--config_file", str(FOLDER / f"{recipe.cluster.sharding}.yaml")]


def usual_lengths(recipe: Recipe) -> Lengths:
    """A guess from the recipe's limits, where nobody knows the data's."""
    stage = recipe.rlvr
    longest_prompt = stage.max_prompt_tokens if stage else recipe.data.max_prompt_tokens if recipe.data else 512
    longest_reply = stage.max_completion_tokens if stage else recipe.distill.max_length if recipe.distill else 512
    return Lengths(prompt=max(1, round(PROMPT_SHARE * longest_prompt)), reply=max(1, round(REPLY_SHARE * longest_reply)))


def _cpu() -> Gpu:
    return Gpu(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), CPU_FLOPS, CPU_BANDWIDTH)


# --- memory of one GPU ---------------------------------------------------------------------------------------------------


def _trained(recipe: Recipe, shape: Decoder) -> int:
    lora = recipe.model.lora
    return adapter_parameters(shape, lora) if lora else parameters(shape)


def training_memory(recipe: Recipe, shape: Decoder, tokens: int, precision: str) -> dict[str, float]:
    """Bytes by part on a GPU that holds `tokens` tokens at a time."""
    shards = recipe.trainers if recipe.cluster.sharding != "none" else 1
    total, trained, lora = parameters(shape), _trained(recipe, shape), recipe.model.lora
    frozen = 0.0
    if lora:
        in_blocks = sum(i * o for i, o in linears(shape).values()) * shape.num_hidden_layers
        frozen = in_blocks * NF4 + (total - in_blocks) * BF16 if lora.four_bit else total * BF16
    # A bf16 copy of the weights in use: of all of them under autocast; of two blocks and the embeddings where they are sharded.
    copied = 2 * block_parameters(shape) + embedding_parameters(shape) if shards > 1 else 0 if lora else total
    copies = BF16 * copied if precision == "bf16" or shards > 1 else 0.0
    return {
        "weights": (frozen + FP32 * trained) / shards if lora else FP32 * trained / shards,
        "gradients": FP32 * trained / shards,
        "optimizer": ADAM * trained / shards,
        "working copies": copies,
        "activations": activation_bytes(recipe, shape, tokens, precision, sharded=shards > 1, copies=copies),
        "context": CONTEXT if recipe.cluster.gpus else 0.0,
    }


def activation_bytes(recipe: Recipe, shape: Decoder, tokens: int, precision: str, *, sharded: bool, copies: float = 0.0) -> float:
    """What the backward pass needs kept: with checkpointing each block's input, and one block in full while it is redone.

    Under autocast the stream between blocks is as wide as the weights, fp32; the products within a block are bf16.
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
    redone = tokens * (block + product * 3 * wide + FP32 * 2 * hidden)  # with the block's own gradients on the way back
    if not sharded:  # autocast has let go of its copies by then, those of one block excepted
        redone = max(0.0, redone + (BF16 * block_parameters(shape) if copies else 0.0) - copies)
    return shape.num_hidden_layers * tokens * hidden * stream + max(redone, head)


def kv_bytes(shape: Decoder) -> int:
    """Bytes of a token in the KV cache, in bf16."""
    return 2 * shape.num_hidden_layers * kv_width(shape) * BF16


def _distill(recipe: Recipe, stage: Distill, shape: Decoder, gpu: Gpu, mean: Lengths) -> StagePlan:
    rows = recipe.world.chains if recipe.world else recipe.data.distill if recipe.data else 0
    each = mean.prompt + mean.reply
    per_sequence = stage.max_length if stage.packing else min(each, stage.max_length)
    tokens = stage.steps * stage.batch * per_sequence if stage.steps else rows * each * stage.epochs
    held = stage.micro_batch * (stage.max_length if stage.packing else min(stage.max_length, each))
    seconds = tokens * _training_flops(recipe, shape, per_sequence) / (recipe.trainers * gpu.flops * TRAINING_SHARE)
    return StagePlan(
        stage="distill",
        memory=training_memory(recipe, shape, held, stage.precision),
        limit=gpu.memory,
        trained_tokens=tokens,
        sampled_tokens=0.0,
        hours={"training": seconds / 3600},
    )


def _rlvr(recipe: Recipe, stage: Rlvr, shape: Decoder, gpu: Gpu, mean: Lengths) -> StagePlan:
    held = stage.micro_batch * (stage.max_prompt_tokens + stage.max_completion_tokens)
    memory = training_memory(recipe, shape, held, stage.precision)
    shards = recipe.trainers if recipe.cluster.sharding != "none" else 1
    if stage.kl and not recipe.model.lora:
        memory["reference"] = FP32 * parameters(shape) / shards
    memory["sampling"] = _sampling_memory(recipe, stage, shape, gpu)
    replies = stage.steps * stage.prompts * stage.generations
    tokens = replies * (mean.prompt + mean.reply)
    forward = _forward_flops(shape, mean.prompt + mean.reply)
    passes = _training_flops(recipe, shape, mean.prompt + mean.reply) + forward * (1 + bool(stage.kl))
    return StagePlan(
        stage="rlvr",
        memory=memory,
        limit=gpu.memory,
        trained_tokens=tokens,
        sampled_tokens=replies * mean.reply,
        hours={
            "sampling": _sampling_seconds(recipe, stage, shape, gpu, mean) / 3600,
            "training": tokens * passes / (recipe.trainers * gpu.flops * TRAINING_SHARE) / 3600,
        },
    )


def _sampling_memory(recipe: Recipe, stage: Rlvr, shape: Decoder, gpu: Gpu) -> float:
    """Of a GPU that also trains: nothing where the engine has its own, its share where it does not, the KV cache otherwise."""
    if recipe.rollouts.gpus:
        return 0.0
    if recipe.rollouts.backend != "transformers":
        return recipe.rollouts.memory_fraction * gpu.memory if recipe.cluster.gpus else 0.0
    at_once = stage.prompts * stage.generations / recipe.trainers
    return at_once * (stage.max_prompt_tokens + stage.max_completion_tokens) * kv_bytes(shape)


# --- time ----------------------------------------------------------------------------------------------------------------


def _forward_flops(shape: Decoder, length: int) -> float:
    """Of one token in a sequence of `length`: two a weight, and attention over half of the sequence on average."""
    weights = shape.num_hidden_layers * block_parameters(shape) + shape.vocab_size * shape.hidden_size
    return 2.0 * weights + 2.0 * shape.num_hidden_layers * shape.num_attention_heads * head_dim(shape) * length


def _training_flops(recipe: Recipe, shape: Decoder, length: int) -> float:
    """Of one token: forward, again with checkpointing, and backward: twice as much, once where the weights are frozen."""
    passes = 1 + recipe.model.gradient_checkpointing + (1 if recipe.model.lora else 2)
    return passes * _forward_flops(shape, length)


def _sampling_seconds(recipe: Recipe, stage: Rlvr, shape: Decoder, gpu: Gpu, mean: Lengths) -> float:
    """Decoding reads the weights and every running reply's cache once a token; how many run is a matter of memory."""
    rollouts = recipe.rollouts
    engines = max(1.0, recipe.cluster.nodes * recipe.sampling_gpus / rollouts.tensor_parallel)
    wanted = stage.prompts * stage.generations / engines
    length = mean.prompt + mean.reply / 2
    share = SERVER_SHARE if rollouts.gpus else rollouts.memory_fraction
    weights = BF16 * parameters(shape)
    room = max(0.0, share * gpu.memory * rollouts.tensor_parallel - weights)
    running = max(1.0, min(wanted, room / (length * kv_bytes(shape))))
    if rollouts.backend == "transformers":
        running = wanted
    traffic = (weights + running * length * kv_bytes(shape)) / (gpu.bandwidth * rollouts.tensor_parallel * SAMPLING_SHARE)
    compute = running * _forward_flops(shape, round(length)) / (gpu.flops * rollouts.tensor_parallel * TRAINING_SHARE)
    decoding = wanted / running * mean.reply * (max(traffic, compute) + STEP_S[rollouts.backend])
    prefill = stage.prompts / engines * mean.prompt * _forward_flops(shape, mean.prompt)
    return stage.steps * (decoding + prefill / (gpu.flops * rollouts.tensor_parallel * TRAINING_SHARE))


# --- disk and money ------------------------------------------------------------------------------------------------------


def disk_bytes(recipe: Recipe, weights: int, trained: int) -> int:
    """The most that the folder of a run with a model of `weights` weights, of which `trained` are trained, holds at a time.

    For each training stage three checkpoints (weights and optimizer) and its model, then the export.
    """
    stages = sum(stage is not None for stage in (recipe.distill, recipe.rlvr))
    return stages * (3 * (FP32 + ADAM) + FP32) * trained + FP32 * weights


def _oracle(recipe: Recipe, mean: Lengths) -> OraclePlan | None:
    oracle = recipe.oracle
    if oracle is None or recipe.data is None or recipe.distill is None:
        return None
    firsts = recipe.data.distill * oracle.samples * (2 if oracle.samples > 1 else 1)
    seconds = 0.25 * recipe.data.distill if oracle.second else 0.0  # RM-R1 found about 75 % of the first pass right
    second = oracle.second or oracle.first
    prompts = [firsts * mean.prompt, seconds * (mean.prompt + mean.reply)]
    replies = [firsts * mean.reply, seconds * mean.reply]
    usd = sum(
        (prompt * end.usd_per_million_input + reply * end.usd_per_million_output) / 1e6
        for prompt, reply, end in zip(prompts, replies, (oracle.first, second), strict=True)
    )
    return OraclePlan(requests=firsts + seconds, prompt_tokens=sum(prompts), reply_tokens=sum(replies), usd=usd)
