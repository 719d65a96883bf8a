"""The `[model]` table of a recipe: the policy at the start of training."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from reasrm.types import Frozen
from reasrm_training.config.values import Share


class Shape(Frozen):
    """The numbers that decide a decoder's size, under the names that they have in its `config.json`."""

    hidden_size: PositiveInt = Field(description="The width of the hidden states.")
    num_hidden_layers: PositiveInt = Field(description="The number of layers.")
    num_attention_heads: PositiveInt = Field(description="The number of attention heads per layer.")
    intermediate_size: PositiveInt = Field(description="The width of the feed-forward layers.")
    vocab_size: PositiveInt = Field(description="The number of tokens in the vocabulary.")
    num_key_value_heads: PositiveInt | None = Field(
        default=None, description="The number of key-value heads per layer. None: as many as attention heads."
    )
    head_dim: PositiveInt | None = Field(
        default=None, description="The width of an attention head. None: `hidden_size` / `num_attention_heads`."
    )
    max_position_embeddings: PositiveInt = Field(default=2048, description="The context window, in tokens.")
    tie_word_embeddings: bool = Field(default=False, description="Use one matrix for input and output embeddings.")
    rope_theta: PositiveFloat = Field(default=10_000.0, description="The base of the rotary position embeddings.")
    initializer_range: PositiveFloat = Field(default=0.02, description="The standard deviation of the initial weights.")
    attention_bias: bool = Field(default=False, description="Give the attention projections a bias.")


class Lora(Frozen):
    """Train adapters instead of all weights (arXiv 2106.09685); with `four_bit`, over NF4 weights (arXiv 2305.14314)."""

    rank: PositiveInt = Field(default=64, description="The rank of the adapters.")
    alpha: PositiveInt = Field(default=128, description="The scale of the adapters; they are multiplied by `alpha` / `rank`.")
    dropout: Share = Field(default=0.0, description="The dropout before the adapters.")
    targets: tuple[str, ...] = Field(
        default=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        description="The modules that get adapters.",
    )
    four_bit: bool = Field(default=False, description="Hold the frozen weights in NF4. Needs bitsandbytes.")


class Model(Frozen):
    """The policy at the start: `path` is a hub id or a folder; `scratch` is the shape of a Llama with random weights."""

    path: str | None = Field(default=None, description="A hub id or a folder with weights.")
    revision: str | None = Field(default=None, description="The revision of a hub model. None: the newest.")
    scratch: Shape | None = Field(default=None, description="The shape of a Llama with random weights, in place of `path`.")
    attention: Literal["sdpa", "flash_attention_2", "eager"] = Field(
        default="sdpa", description="The implementation of attention. `flash_attention_2` needs flash-attn."
    )
    gradient_checkpointing: bool = Field(
        default=True, description="Recompute activations in the backward pass, which saves memory."
    )
    lora: Lora | None = Field(default=None, description="Train adapters instead of all weights.")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.path is None) == (self.scratch is None):
            raise ValueError("give either path (a hub id or a folder) or scratch (a shape), not both")
        if self.lora and self.scratch:
            raise ValueError("a model from scratch cannot be trained by adapters: drop lora")
        return self
