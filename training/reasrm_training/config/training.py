"""The `[distill]`, `[rlvr]` and `[rollouts]` tables of a recipe: the two training stages, and the sampler of RL's replies."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from reasrm.types import Frozen
from reasrm_training.config.values import Count, Precision, Share

RewardName = Literal["verdict", "format", "consistency", "margin", "length"]


class Distill(Frozen):
    """Stage 1: SFT on chains. The loss is on the reply only.

    `batch` counts the sequences of one update over all devices, `micro_batch` those that one device holds at a time.
    """

    batch: PositiveInt = 128
    micro_batch: PositiveInt = 1
    epochs: PositiveFloat = 1.0
    steps: PositiveInt | None = None  # overrides epochs
    learning_rate: PositiveFloat
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Share = 0.03  # share of the steps
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    adam_beta2: Share = 0.999
    max_grad_norm: PositiveFloat = 1.0
    max_length: PositiveInt = 12_288
    packing: bool = True
    precision: Precision = "bf16"
    save_steps: PositiveInt = 100


class Guard(Frozen):
    """When RL stops itself. A bound that is broken at `patience` logged steps in a row means that the judge has collapsed."""

    probability_a: tuple[Share, Share] = (0.15, 0.85)  # allowed share of verdicts that name A
    min_format: Share = 0.5
    max_length_share: Share = 0.95  # mean reply length over max_completion_tokens
    min_entropy: Annotated[float, Field(ge=0.0)] = 0.005  # nats per token
    patience: PositiveInt = 5


class Rlvr(Frozen):
    """Stage 2: GRPO.

    A step draws `prompts` prompts, samples `generations` replies to each, and updates once per `mini_batch` prompts.
    `micro_batch` counts the replies that one device holds at a time. With `kl` = 0 no reference model is loaded.
    The reward of a reply is the weighted sum of the rewards named in `reward`.
    """

    steps: PositiveInt
    prompts: PositiveInt = 1024
    mini_batch: PositiveInt = 128
    generations: Annotated[int, Field(ge=2)] = 7
    micro_batch: PositiveInt = 1
    learning_rate: PositiveFloat
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup: Share = 0.0
    kl: Annotated[float, Field(ge=0.0)] = 1e-3
    clip: PositiveFloat = 0.2
    clip_high: PositiveFloat | None = None  # None: the same as clip
    loss: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = "dapo"
    scale_rewards: Literal["group", "batch", "none"] = "group"
    temperature: PositiveFloat = 1.0
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    max_prompt_tokens: PositiveInt = 4096
    max_completion_tokens: PositiveInt = 8192
    max_grad_norm: PositiveFloat = 1.0
    precision: Precision = "bf16"
    orders: Literal["both", "one"] = "both"  # show each pair both ways round in one batch, or only as given
    reward: dict[RewardName, float] = Field(default={"verdict": 1.0}, min_length=1)  # name -> weight
    guard: Guard = Guard()
    save_steps: PositiveInt = 10

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

    backend: Literal["transformers", "sglang", "vllm"] = "transformers"
    url: str = ""
    server: str = "python -m sglang.launch_server"  # starts an SGLang: name the Python of the environment that has it
    gpus: Count = 0  # the last ones of each node are set aside for sampling; 0: sampling shares the trainer's GPUs
    weights: Literal["disk", "tensors"] = "disk"  # how SGLang gets the policy's weights; tensors needs GPUs of its own
    tensor_parallel: PositiveInt = 1  # GPUs per engine; a node has as many engines as its sampling GPUs allow
    memory_fraction: Share = 0.4  # of a GPU's memory that the engine may hold
    importance_cap: PositiveFloat | None = 2.0  # of truncated importance weights; None: no correction
