"""The plan of a recipe: memory of a GPU by part, tokens, hours, disk and the oracles' money. No model is loaded for it."""

from __future__ import annotations

from pydantic import PositiveInt

from reasrm.types import Frozen
from reasrm_training.config.recipe import Recipe
from reasrm_training.config.training import Distill, Rlvr
from reasrm_training.config.values import Stage
from reasrm_training.plan.gpus import Gpu, gpu_named, this_cpu
from reasrm_training.plan.launch import launch_command
from reasrm_training.plan.memory import FP32, disk_bytes, sampling_memory, shards, training_memory
from reasrm_training.plan.shapes import Decoder, parameters, shape_of, trained_parameters
from reasrm_training.plan.speed import forward_flops, sampling_seconds, training_flops, training_seconds

PROMPT_SHARE, REPLY_SHARE = 0.30, 0.15  # mean lengths over their limits, where the data's are not known
FAILED_SHARE = 0.25  # of the first pass; RM-R1 found about 75 % of it right


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
        """Whether all parts together fit into the GPU's memory."""
        return sum(self.memory.values()) <= self.limit


class OraclePlan(Frozen):
    """The chains: requests and tokens if a quarter of the first pass fails, and their price."""

    requests: float
    prompt_tokens: float
    reply_tokens: float
    usd: float


class Plan(Frozen):
    """Everything that a recipe needs. `disk` in bytes."""

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
        """The hours of all training stages."""
        return sum(sum(stage.hours.values()) for stage in self.stages)


def plan(recipe: Recipe, lengths: Lengths | None = None, source: str | None = None) -> Plan:
    """The needs of `recipe`, with the command that starts it. `lengths` are the data's, where they are known.

    `source` is the recipe as the command names it, with its changes. Raises RecipeError for unknown models and GPUs.
    """
    shape = shape_of(recipe.model)
    mean = lengths or usual_lengths(recipe)
    gpu = gpu_named(recipe.cluster.gpu) if recipe.cluster.gpus else this_cpu()
    stages: list[StagePlan] = []
    if recipe.distill:
        stages.append(_distill(recipe, recipe.distill, shape, gpu, mean))
    if recipe.rlvr:
        stages.append(_rlvr(recipe, recipe.rlvr, shape, gpu, mean))
    return Plan(
        recipe=recipe.name,
        parameters=parameters(shape),
        trained_parameters=trained_parameters(shape, recipe.model.lora),
        trainers=recipe.trainers,
        lengths=mean,
        oracle=_oracle(recipe, mean),
        stages=tuple(stages),
        disk=disk_bytes(recipe, shape),
        command=launch_command(recipe, source or recipe.name),
    )


def usual_lengths(recipe: Recipe) -> Lengths:
    """A guess from the recipe's limits, for data whose lengths are not known."""
    stage = recipe.rlvr
    longest_prompt = stage.max_prompt_tokens if stage else recipe.data.max_prompt_tokens if recipe.data else 512
    longest_reply = stage.max_completion_tokens if stage else recipe.distill.max_length if recipe.distill else 512
    return Lengths(prompt=max(1, round(PROMPT_SHARE * longest_prompt)), reply=max(1, round(REPLY_SHARE * longest_reply)))


def _distill(recipe: Recipe, stage: Distill, shape: Decoder, gpu: Gpu, mean: Lengths) -> StagePlan:
    rows = recipe.world.chains if recipe.world else recipe.data.distill if recipe.data else 0
    row = mean.prompt + mean.reply
    sequence = stage.max_length if stage.packing else min(row, stage.max_length)
    tokens = stage.steps * stage.batch * sequence if stage.steps else rows * row * stage.epochs
    seconds = training_seconds(recipe, gpu, tokens * training_flops(recipe, shape, sequence))
    return StagePlan(
        stage="distill",
        memory=training_memory(recipe, shape, stage.micro_batch * sequence, stage.precision),
        limit=gpu.memory,
        trained_tokens=tokens,
        sampled_tokens=0.0,
        hours={"training": seconds / 3600},
    )


def _rlvr(recipe: Recipe, stage: Rlvr, shape: Decoder, gpu: Gpu, mean: Lengths) -> StagePlan:
    at_once = stage.micro_batch * (stage.max_prompt_tokens + stage.max_completion_tokens)
    memory = training_memory(recipe, shape, at_once, stage.precision)
    if stage.kl and not recipe.model.lora:
        memory["reference"] = FP32 * parameters(shape) / shards(recipe)
    memory["sampling"] = sampling_memory(recipe, stage, shape, gpu)
    replies = stage.steps * stage.prompts * stage.generations
    length = mean.prompt + mean.reply
    tokens = replies * length
    flops = training_flops(recipe, shape, length) + forward_flops(shape, length) * (1 + bool(stage.kl))
    return StagePlan(
        stage="rlvr",
        memory=memory,
        limit=gpu.memory,
        trained_tokens=tokens,
        sampled_tokens=replies * mean.reply,
        hours={
            "sampling": sampling_seconds(recipe, stage, shape, gpu, mean.prompt, mean.reply) / 3600,
            "training": training_seconds(recipe, gpu, tokens * flops) / 3600,
        },
    )


def _oracle(recipe: Recipe, mean: Lengths) -> OraclePlan | None:
    oracle = recipe.oracle
    if oracle is None or recipe.data is None or recipe.distill is None:
        return None
    firsts = recipe.data.distill * oracle.samples * (2 if oracle.samples > 1 else 1)
    seconds = FAILED_SHARE * recipe.data.distill if oracle.second else 0.0
    prompts = [firsts * mean.prompt, seconds * (mean.prompt + mean.reply)]
    replies = [firsts * mean.reply, seconds * mean.reply]
    usd = sum(
        (prompt * endpoint.usd_per_million_input + reply * endpoint.usd_per_million_output) / 1e6
        for prompt, reply, endpoint in zip(prompts, replies, (oracle.first, oracle.second or oracle.first), strict=True)
    )
    return OraclePlan(requests=firsts + seconds, prompt_tokens=sum(prompts), reply_tokens=sum(replies), usd=usd)
