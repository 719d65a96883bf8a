"""The `[distill]`, `[rlvr]` and `[rollouts]` tables of a recipe: the two training stages, and the sampler of RL's replies."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from reasrm.types import Frozen
from reasrm_training.config.values import Count, Precision, Share

RewardName = Literal["verdict", "format", "consistency", "margin", "length"]


class Distill(Frozen):
    """Stage 1: SFT on chains. The loss is on the reply only."""

    batch: PositiveInt = Field(default=128, description="Sequences per update, over all devices.")
    micro_batch: PositiveInt = Field(default=1, description="Sequences that one device holds at the same time.")
    epochs: PositiveFloat = Field(default=1.0, description="Passes over the chains.")
    steps: PositiveInt | None = Field(default=None, description="The number of updates. It replaces `epochs`.")
    learning_rate: PositiveFloat = Field(description="The highest learning rate.")
    schedule: Literal["cosine", "linear", "constant"] = Field(default="cosine", description="The course of the learning rate.")
    warmup: Share = Field(default=0.03, description="The share of the steps in which the learning rate rises.")
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(default=0.0, description="The weight decay of AdamW.")
    adam_beta2: Share = Field(default=0.999, description="The second beta of AdamW.")
    max_grad_norm: PositiveFloat = Field(default=1.0, description="Gradients are clipped to this norm.")
    max_length: PositiveInt = Field(default=12_288, description="The longest sequence of prompt and chain, in tokens.")
    packing: bool = Field(default=True, description="Put several chains into one sequence.")
    precision: Precision = Field(default="bf16", description="The precision of the arithmetic.")
    save_steps: PositiveInt = Field(default=100, description="Steps between two checkpoints.")


class Guard(Frozen):
    """When RL stops itself. A bound that is broken at `patience` logged steps in a row means that the judge has collapsed."""

    probability_a: tuple[Share, Share] = Field(default=(0.15, 0.85), description="The allowed share of verdicts that name A.")
    min_format: Share = Field(default=0.5, description="The lowest share of well-formed replies.")
    max_length_share: Share = Field(
        default=0.95, description="The highest mean reply length, as a share of `max_completion_tokens`."
    )
    min_entropy: Annotated[float, Field(ge=0.0)] = Field(default=0.005, description="The lowest entropy, in nats per token.")
    patience: PositiveInt = Field(default=5, description="Logged steps in a row that break a bound before RL stops.")


class Rlvr(Frozen):
    """Stage 2: GRPO.

    A step draws `prompts` prompts, samples `generations` replies to each, and updates once per `mini_batch` prompts.
    """

    steps: PositiveInt = Field(description="The number of steps. A step samples once.")
    prompts: PositiveInt = Field(default=1024, description="Prompts per step.")
    mini_batch: PositiveInt = Field(default=128, description="Prompts per update of the weights.")
    generations: Annotated[int, Field(ge=2)] = Field(default=7, description="Replies per prompt.")
    micro_batch: PositiveInt = Field(default=1, description="Replies that one device holds at the same time.")
    learning_rate: PositiveFloat = Field(description="The highest learning rate.")
    schedule: Literal["constant", "cosine", "linear"] = Field(default="constant", description="The course of the learning rate.")
    warmup: Share = Field(default=0.0, description="The share of the steps in which the learning rate rises.")
    kl: Annotated[float, Field(ge=0.0)] = Field(
        default=1e-3, description="The weight of the KL divergence from the model before RL. 0: no reference model is loaded."
    )
    clip: PositiveFloat = Field(default=0.2, description="The clip range of the probability ratio, downwards.")
    clip_high: PositiveFloat | None = Field(default=None, description="The clip range upwards. None: the same as `clip`.")
    loss: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = Field(default="dapo", description="The loss of TRL's GRPOTrainer.")
    scale_rewards: Literal["group", "batch", "none"] = Field(
        default="group", description="Divide advantages by the standard deviation of the group, of the batch, or by nothing."
    )
    temperature: PositiveFloat = Field(default=1.0, description="The sampling temperature.")
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=1.0, description="Nucleus sampling: the share of the probability mass that is sampled from."
    )
    max_prompt_tokens: PositiveInt = Field(default=4096, description="The longest prompt, in tokens.")
    max_completion_tokens: PositiveInt = Field(default=8192, description="The longest reply, in tokens.")
    max_grad_norm: PositiveFloat = Field(default=1.0, description="Gradients are clipped to this norm.")
    precision: Precision = Field(default="bf16", description="The precision of the arithmetic.")
    orders: Literal["both", "one"] = Field(
        default="both", description="Show each pair in both orders in one batch, or only as given."
    )
    reward: dict[RewardName, float] = Field(
        default={"verdict": 1.0},
        min_length=1,
        description="Name of a reward -> its weight. The reward of a reply is the weighted sum.",
    )
    guard: Guard = Field(default=Guard(), description="When RL stops itself.")
    save_steps: PositiveInt = Field(default=10, description="Steps between two checkpoints.")

    @model_validator(mode="after")
    def _batches_fit(self) -> Self:
        if self.prompts % self.mini_batch:
            raise ValueError(f"prompts ({self.prompts}) must be a multiple of mini_batch ({self.mini_batch})")
        if self.orders == "both" and self.prompts % 2:
            raise ValueError(f'prompts ({self.prompts}) must be even with orders = "both": a pair takes two prompts')
        if self.orders == "one" and "consistency" in self.reward:
            raise ValueError('the consistency reward needs orders = "both"')
        return self

    @property
    def updates_per_step(self) -> int:
        """Optimizer updates between two rounds of sampling."""
        return self.prompts // self.mini_batch


class Rollouts(Frozen):
    """The sampler of RL's replies. `url` is the address of a running server; if it is empty, the run starts its own."""

    backend: Literal["transformers", "sglang", "vllm"] = Field(default="transformers", description="What samples the replies.")
    url: str = Field(default="", description="The address of a running server. Empty: the run starts its own.")
    server: str = Field(
        default="python -m sglang.launch_server",
        description="The command that starts an SGLang. Name the Python of the environment that has it.",
    )
    gpus: Count = Field(
        default=0, description="How many GPUs of each node, the last ones, only sample. 0: sampling shares the trainer's GPUs."
    )
    weights: Literal["disk", "tensors"] = Field(
        default="disk", description="How SGLang gets the policy's weights. `tensors` needs GPUs of its own."
    )
    tensor_parallel: PositiveInt = Field(
        default=1, description="GPUs per engine. A node has as many engines as its sampling GPUs allow."
    )
    memory_fraction: Share = Field(default=0.4, description="The share of a GPU's memory that the engine may hold.")
    importance_cap: PositiveFloat | None = Field(
        default=2.0, description="The bound of truncated importance weights. None: no correction."
    )
