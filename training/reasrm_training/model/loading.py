"""The weights of the model that is trained: loaded for training or for use."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasrm.errors import RecipeError
from reasrm_training.config.model import Lora
from reasrm_training.config.recipe import Recipe
from reasrm_training.config.values import Precision
from reasrm_training.model import devices
from reasrm_training.model.from_scratch import make_model
from reasrm_training.model.processes import processes
from reasrm_training.model.tokenizer import new_tokenizer

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

ADAPTER = "adapter_config.json"  # a folder of adapters holds a file of this name


def load_policy(
    recipe: Recipe, folder: Path | None = None, *, trained: bool, precision: Precision = "fp32"
) -> PreTrainedModel | PeftModel:
    """The model in `folder` (an earlier stage's result), or the recipe's own.

    With `trained`, weights that will be trained come in fp32 and frozen ones in bf16 or NF4, and an adapter in `folder`
    stays an adapter. Without, all come in `precision`, and an adapter is merged. Raises RecipeError where there is no model.
    """
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    if recipe.cluster.gpus == 0:
        devices.keep_freed_memory()
    if not trained:  # only the main process loads it; under ZeRO-3 it would wait for the others to take their shares
        unset_hf_deepspeed_config()
    if folder is None and recipe.model.scratch:
        return make_model(recipe.model.scratch, new_tokenizer(recipe.model.scratch.vocab_size), recipe.seed)
    adapter = folder if folder and (folder / ADAPTER).is_file() else None
    source = str(recipe.model.path if adapter or folder is None else folder)
    settings = _settings(recipe, source, trained=trained, precision=precision)
    by_main = trained and recipe.cluster.sharding == "fsdp2" and not processes(recipe).is_main_process
    model = _without_weights(source, settings) if by_main else _with_weights(source, settings)
    return _adapted(model, adapter, trained=trained) if adapter else model


def _settings(recipe: Recipe, source: str, *, trained: bool, precision: Precision) -> dict[str, Any]:
    """The arguments of `from_pretrained` for the weights at `source`."""
    import torch

    lora = recipe.model.lora
    in_bf16 = lora is not None if trained else precision == "bf16"
    settings: dict[str, Any] = {
        "revision": recipe.model.revision if source == recipe.model.path else None,
        "attn_implementation": recipe.model.attention,
        "dtype": torch.bfloat16 if in_bf16 else torch.float32,
    }
    return settings | ({"quantization_config": _nf4()} if trained and lora and lora.four_bit else {})


def _with_weights(source: str, settings: Mapping[str, Any]) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(source, **settings)
    except (OSError, ValueError) as error:
        raise RecipeError(f"model.path: no model at {source}: {str(error).splitlines()[0]}") from None


def _without_weights(source: str, settings: Mapping[str, Any]) -> PreTrainedModel:
    """The model at `source` without its weights: under FSDP2 the main process reads them and gives the others their shards.

    If every process read them, a node of eight would hold eight whole models at once. Memory that is never written to takes
    no room.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
    from transformers.initialization import no_init_weights

    try:
        config = AutoConfig.from_pretrained(
            source, revision=settings["revision"], attn_implementation=settings["attn_implementation"]
        )
    except (OSError, ValueError) as error:
        raise RecipeError(f"model.path: no model at {source}: {str(error).splitlines()[0]}") from None
    with no_init_weights():
        model = AutoModelForCausalLM.from_config(config, dtype=settings["dtype"])
    model.tie_weights()  # part of the initialisation that was left out
    with contextlib.suppress(OSError):  # not every model has one
        model.generation_config = GenerationConfig.from_pretrained(source, revision=settings["revision"])
    return model


def _adapted(model: PreTrainedModel, adapter: Path, *, trained: bool) -> PreTrainedModel | PeftModel:
    from peft import PeftModel

    wrapped = PeftModel.from_pretrained(model, str(adapter), is_trainable=trained)
    return wrapped if trained else wrapped.merge_and_unload()


def check_adapters(recipe: Recipe) -> None:
    """Raises RecipeError where `model.lora.targets` names no layer of the recipe's model. Loads its config, but no weights."""
    lora = adapters(recipe.model.lora)
    if lora is None:
        return
    import torch
    from peft import get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(str(recipe.model.path), revision=recipe.model.revision)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError) as error:
        raise RecipeError(f"model.path: no model at {recipe.model.path}: {str(error).splitlines()[0]}") from None
    try:
        get_peft_model(model, lora, low_cpu_mem_usage=True)
    except ValueError as error:
        raise RecipeError(f"model.lora: {str(error).splitlines()[0]}") from None


def adapters(lora: Lora | None) -> LoraConfig | None:
    """The configuration by which TRL wraps a fresh model in adapters; None for full training."""
    if lora is None:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        task_type="CAUSAL_LM",
    )


def weights_digest(folder: Path) -> str:
    """Twelve hex digits that name the weights of a model folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def _nf4() -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
