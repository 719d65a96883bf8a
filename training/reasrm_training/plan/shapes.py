"""Models by the numbers of their config.json, and their parameters. The built-in recipes' models need no download."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reasrm.errors import RecipeError
from reasrm_training.config.model import Lora, Model, Shape


class NoPlan(RecipeError):
    """A model whose parameters do not follow from its shape, though it can be trained."""


class Decoder(Shape):
    """A shape, and what its family adds to it: Qwen3's norms of queries and keys, Llama's bias after attention."""

    qk_norm: bool = False
    output_bias: bool = False


_QWEN25 = {"num_key_value_heads": 8, "vocab_size": 152_064, "attention_bias": True, "max_position_embeddings": 32_768}
_QWEN25_7B = _QWEN25 | {"hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "intermediate_size": 18_944}
_QWEN25_14B = _QWEN25 | {"hidden_size": 5120, "num_hidden_layers": 48, "num_attention_heads": 40, "intermediate_size": 13_824}
_QWEN25_32B = _QWEN25 | {"hidden_size": 5120, "num_hidden_layers": 64, "num_attention_heads": 40, "intermediate_size": 27_648}
_QWEN3_8B = {
    "hidden_size": 4096,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 12_288,
    "vocab_size": 151_936,
    "head_dim": 128,
    "qk_norm": True,
    "max_position_embeddings": 40_960,
}

SHAPES: Mapping[str, Decoder] = {
    name: Decoder.model_validate(numbers)
    for name, numbers in {
        "Qwen/Qwen2.5-7B-Instruct": _QWEN25_7B | {"num_key_value_heads": 4},
        "Qwen/Qwen2.5-14B-Instruct": _QWEN25_14B,
        "Qwen/Qwen2.5-32B-Instruct": _QWEN25_32B,
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": _QWEN25_7B | {"num_key_value_heads": 4},
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B": _QWEN25_14B,
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B": _QWEN25_32B,
        "Qwen/Qwen3-8B": _QWEN3_8B,
    }.items()
}


def shape_of(model: Model) -> Decoder:
    """The shape of a recipe's model: its `scratch`, or from the table here, its folder or the hub.

    Raises NoPlan for a mixture of experts, and RecipeError where there is no config of a decoder.
    """
    if model.scratch:
        return Decoder(**model.scratch.model_dump(), output_bias=model.scratch.attention_bias)
    if model.path in SHAPES:
        return SHAPES[str(model.path)]
    config = Path(str(model.path)) / "config.json"
    try:
        return shape_in(json.loads(config.read_text(encoding="utf-8")) if config.is_file() else _published(model))
    except (ValueError, ValidationError) as error:
        raise RecipeError(f"{config}: not the config of a decoder: {str(error).splitlines()[0]}") from None


def _published(model: Model) -> dict[str, Any]:
    """The config of a model on the hub, or in the hub's cache on this machine."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(model.path), revision=model.revision).get_text_config().to_dict()
    except (OSError, ValueError):
        known = ", ".join(SHAPES)
        raise RecipeError(f"model.path: the shape of {model.path} is not known; give its folder, or one of {known}") from None


def shape_in(config: Mapping[str, Any]) -> Decoder:
    """The shape in a `config.json`. Raises NoPlan, or a ValueError (pydantic's is one)."""
    if experts := next((name for name in ("num_experts", "num_local_experts", "n_routed_experts") if config.get(name)), None):
        raise NoPlan(f"model.path: {experts} = {config[experts]}: a mixture of experts cannot be planned")
    known = {name: config[name] for name in Shape.model_fields if config.get(name) is not None}
    family = str(config.get("model_type", ""))
    # Qwen2 has biases and Qwen3 has norms that their configs do not mention.
    family_adds = {"qk_norm": family == "qwen3", "output_bias": family == "llama" and bool(config.get("attention_bias"))}
    return Decoder.model_validate({"attention_bias": family == "qwen2"} | known | family_adds)


def head_dim(shape: Decoder) -> int:
    """The width of one attention head."""
    return shape.head_dim or shape.hidden_size // shape.num_attention_heads


def kv_width(shape: Decoder) -> int:
    """The width of a token's keys in one layer; its values have the same."""
    return (shape.num_key_value_heads or shape.num_attention_heads) * head_dim(shape)


def linears(shape: Decoder) -> dict[str, tuple[int, int]]:
    """The (inputs, outputs) of the linear layers of one block, by name."""
    hidden, queries, keys = shape.hidden_size, shape.num_attention_heads * head_dim(shape), kv_width(shape)
    wide = shape.intermediate_size
    return {
        "q_proj": (hidden, queries),
        "k_proj": (hidden, keys),
        "v_proj": (hidden, keys),
        "o_proj": (queries, hidden),
        "gate_proj": (hidden, wide),
        "up_proj": (hidden, wide),
        "down_proj": (wide, hidden),
    }


def block_parameters(shape: Decoder) -> int:
    """The parameters of one block: linear layers, their biases, norms."""
    queries, keys = shape.num_attention_heads * head_dim(shape), kv_width(shape)
    weights = sum(inputs * outputs for inputs, outputs in linears(shape).values())
    biases = (queries + 2 * keys if shape.attention_bias else 0) + (shape.hidden_size if shape.output_bias else 0)
    norms = 2 * shape.hidden_size + (2 * head_dim(shape) if shape.qk_norm else 0)
    return weights + biases + norms


def embedding_parameters(shape: Decoder) -> int:
    """The parameters of the embedding and, where it is not tied, the output head."""
    return shape.vocab_size * shape.hidden_size * (1 if shape.tie_word_embeddings else 2)


def parameters(shape: Decoder) -> int:
    """All parameters of the model."""
    return shape.num_hidden_layers * block_parameters(shape) + embedding_parameters(shape) + shape.hidden_size


def adapter_parameters(shape: Decoder, lora: Lora) -> int:
    """The parameters of the adapters: rank x (inputs + outputs) for each layer that has one."""
    return shape.num_hidden_layers * sum(
        lora.rank * (inputs + outputs) for name, (inputs, outputs) in linears(shape).items() if name in lora.targets
    )


def trained_parameters(shape: Decoder, lora: Lora | None) -> int:
    """The parameters that are trained: the adapters' with `lora`, else all."""
    return adapter_parameters(shape, lora) if lora else parameters(shape)
