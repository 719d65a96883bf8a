"""The `[model]` table of a recipe: the policy at the start of training."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import PositiveFloat, PositiveInt, model_validator

from reasrm.types import Frozen
from reasrm_training.config.values import Share


class Shape(Frozen):
    """The numbers that decide a decoder's size, under the names that they have in its `config.json`."""

    hidden_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    intermediate_size: PositiveInt
    vocab_size: PositiveInt
    num_key_value_heads: PositiveInt | None = None  # None: as many as attention heads
    head_dim: PositiveInt | None = None  # None: hidden_size / num_attention_heads
    max_position_embeddings: PositiveInt = 2048
    tie_word_embeddings: bool = False
    rope_theta: PositiveFloat = 10_000.0
    initializer_range: PositiveFloat = 0.02
    attention_bias: bool = False


class Lora(Frozen):
    """Train adapters instead of all weights (arXiv 2106.09685); with `four_bit`, over NF4 weights (arXiv 2305.14314)."""

    rank: PositiveInt = 64
    alpha: PositiveInt = 128
    dropout: Share = 0.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    four_bit: bool = False


class Model(Frozen):
    """The policy at the start: `path` is a hub id or a folder; `scratch` is the shape of a Llama with random weights."""

    path: str | None = None
    revision: str | None = None
    scratch: Shape | None = None
    attention: Literal["sdpa", "flash_attention_2", "eager"] = "sdpa"
    gradient_checkpointing: bool = True
    lora: Lora | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.path is None) == (self.scratch is None):
            raise ValueError("give either path (a hub id or a folder) or scratch (a shape), not both")
        if self.lora and self.scratch:
            raise ValueError("a model from scratch cannot be trained by adapters: drop lora")
        return self
