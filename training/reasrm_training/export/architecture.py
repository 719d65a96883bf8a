"""What llama.cpp must know about a model besides its vocabulary: the numbers of `config.json`, and each tensor's name and form."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from reasrm.errors import InputError

Array = NDArray[Any]

_ARCHITECTURES = {"llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2, "qwen3": gguf.MODEL_ARCH.QWEN3}


class _Rope(BaseModel):
    """Rotary positions, under any of the names that `config.json` has had for them."""

    rope_type: Literal["default", "linear", "yarn", "llama3"] = "default"
    rope_theta: float = 10_000.0
    factor: float = 1.0
    original_max_position_embeddings: int | None = None
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0


class ModelConfig(BaseModel):
    """The keys of `config.json` that decide a forward pass."""

    model_type: Literal["llama", "qwen2", "qwen3"]
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    max_position_embeddings: int
    rms_norm_eps: float
    vocab_size: int
    hidden_act: Literal["silu"] = "silu"
    tie_word_embeddings: bool | None = None
    use_sliding_window: Literal[False] = False
    quantization_config: None = None
    rope: _Rope = _Rope()

    @property
    def kv_heads(self) -> int:
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_width(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads


def model_config(folder: Path, raw: dict[str, Any]) -> ModelConfig:
    """The configuration of the model in `folder`. Raises `InputError` for a model that cannot be written as GGUF."""
    known = ", ".join(_ARCHITECTURES)
    if raw.get("model_type") not in _ARCHITECTURES:
        raise InputError(f"{folder}: models of type {raw.get('model_type')!r} cannot be written as GGUF here; {known} can")
    rope = {"rope_theta": raw["rope_theta"]} if "rope_theta" in raw else {}
    scaling = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    rope |= {"rope_type": scaling.get("type", "default")} | scaling
    try:
        return ModelConfig.model_validate(raw | {"rope": rope})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{folder / 'config.json'}: {where}: {first['msg']}; this model cannot be written as GGUF") from None


def add_architecture(writer: gguf.GGUFWriter, config: ModelConfig) -> None:
    """Write the metadata of the model's shape and positions."""
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_width)
    writer.add_value_length(config.head_width)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(config.head_width)
    writer.add_rope_freq_base(config.rope.rope_theta)
    if config.rope.rope_type in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(config.rope.rope_type))
        writer.add_rope_scaling_factor(config.rope.factor)
    if config.rope.rope_type == "yarn":
        writer.add_rope_scaling_orig_ctx_len(config.rope.original_max_position_embeddings or config.max_position_embeddings)


class TensorForm:
    """Names and forms of the tensors of one model in GGUF."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._names = gguf.get_tensor_name_map(_ARCHITECTURES[config.model_type], config.num_hidden_layers)

    def name(self, name: str) -> str:
        """GGUF's name of the tensor that transformers calls `name`. Raises `InputError` where llama.cpp has no place for it."""
        if there := self._names.get_name(name, try_suffixes=(".weight", ".bias")):
            return there
        raise InputError(f"llama.cpp has no place for the tensor {name} in a model of type {self._config.model_type}")

    def values(self, name: str, tensor: Array) -> Array:
        """The values in llama.cpp's order: in a Llama it rotates neighbouring rows of a head, transformers its two halves."""
        if self._config.model_type != "llama":
            return tensor
        for projection, heads in (("q_proj", self._config.num_attention_heads), ("k_proj", self._config.kv_heads)):
            if f".{projection}." in name:
                halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
                return halves.swapaxes(1, 2).reshape(tensor.shape)
        return tensor

    def added(self) -> dict[str, Array]:
        """Tensors that only GGUF has: the factors by which Llama 3.1 stretches its slow rotations."""
        if self._config.rope.rope_type != "llama3":
            return {}
        return {"rope_freqs.weight": _llama3_factors(self._config)}


def architecture_name(config: ModelConfig) -> str:
    """The name of the architecture in GGUF."""
    return gguf.MODEL_ARCH_NAMES[_ARCHITECTURES[config.model_type]]


def _llama3_factors(config: ModelConfig) -> Array:
    """One divisor per pair of a head's rows, as in transformers' `_compute_llama3_parameters`."""
    rope, width = config.rope, config.head_width
    context = rope.original_max_position_embeddings or config.max_position_embeddings
    factors: list[float] = []
    for pair in range(width // 2):
        turns = context / (2 * math.pi * rope.rope_theta ** (2 * pair / width))  # rotations within the original context
        smooth = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
        smooth = min(1.0, max(0.0, smooth))
        factors.append(1.0 / ((1.0 - smooth) / rope.factor + smooth))
    return np.array(factors, dtype=np.float32)
