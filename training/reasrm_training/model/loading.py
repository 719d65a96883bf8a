"""The model that is trained: loaded for training or use, prompted, and saved. What both stages share and TRL leaves open."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from reasrm.errors import RecipeError
from reasrm.prompts import load_pack
from reasrm.types import Message
from reasrm_training.config.recipe import Distill, Lora, Precision, Recipe, Rlvr
from reasrm_training.model import devices
from reasrm_training.model.from_scratch import make_model, make_tokenizer

if TYPE_CHECKING:
    from accelerate import PartialState
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast, Trainer

#: TRL and the hub client report usage to the hub; a training run is nobody else's business.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

Stage = TypeVar("Stage", Distill, Rlvr)
COMPLETE = "complete"  # a checkpoint folder holds a file of this name once everything in it is written


def required(stage: Stage | None, name: str) -> Stage:
    """A stage's settings. Raises RecipeError where the recipe does not have that stage."""
    if stage is None:
        raise RecipeError(f"the recipe has no [{name}]")
    return stage


def processes(recipe: Recipe) -> PartialState:
    """The processes that train together, joined by their first call of this; one alone where nothing launched more."""
    from accelerate import PartialState

    on_cpu = recipe.cluster.gpus == 0
    if not launched():
        return PartialState(cpu=on_cpu)
    # Those that wait for the main one to make data or to measure must not take its silence for death.
    return PartialState(cpu=on_cpu, backend="gloo" if on_cpu else None, timeout=timedelta(days=7))


def launched() -> bool:
    """Whether a launcher (accelerate, torchrun) started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def load_tokenizer(recipe: Recipe, folder: Path | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of `folder`, or of the recipe's model. Raises RecipeError where it has no chat template."""
    from transformers import AutoTokenizer

    if folder is None and recipe.model.scratch:
        return _new_tokenizer(recipe.model.scratch.vocab_size)
    source = str(folder or recipe.model.path)
    if source.startswith((".", "/", "~")) and not Path(source).is_dir():
        raise RecipeError(f"model.path: there is no folder {source}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=None if folder else recipe.model.revision)
    except (OSError, ValueError) as error:
        raise RecipeError(f"model.path: no tokenizer at {source}: {str(error).splitlines()[0]}") from None
    if not tokenizer.chat_template:
        raise RecipeError(f"model.path: the tokenizer of {source} has no chat template; a judge needs a chat model")
    if (system := load_pack(recipe.prompts).system) and not _shows_system(tokenizer, system):
        raise RecipeError(
            f"prompts: the chat template of {source} shows no system message, and the pack {recipe.prompts} has one; "
            "give a folder without system.txt, its text at the head of user.txt"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return tokenizer


def _shows_system(tokenizer: PreTrainedTokenizerBase, system: str) -> bool:
    """Whether a prompt by the tokenizer's chat template holds a system message; some templates refuse one, some pass over it."""
    from jinja2 import TemplateError

    chat = [{"role": "system", "content": system}, {"role": "user", "content": "?"}]
    try:
        return system.strip() in str(tokenizer.apply_chat_template(chat, tokenize=False))
    except TemplateError:
        return False


def load_policy(
    recipe: Recipe, folder: Path | None = None, *, trained: bool, precision: Precision = "fp32"
) -> PreTrainedModel | PeftModel:
    """The model of `folder` (an earlier stage's result), or the recipe's own.

    With `trained`, weights that will be trained come in fp32 and frozen ones in bf16 or NF4, and an adapter in `folder` goes
    on being trained; without, they come in `precision`, and an adapter is merged.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    if recipe.cluster.gpus == 0:
        devices.keep_freed_memory()
    if not trained:  # by the main process alone; while ZeRO-3 is in force it would wait for the others to take their shares
        unset_hf_deepspeed_config()
    if folder is None and recipe.model.scratch:
        return make_model(recipe.model.scratch, _new_tokenizer(recipe.model.scratch.vocab_size), recipe.seed)
    adapter = folder if folder and (folder / "adapter_config.json").is_file() else None
    source = str(recipe.model.path if adapter or folder is None else folder)
    settings: dict[str, Any] = {
        "revision": recipe.model.revision if source == recipe.model.path else None,
        "attn_implementation": recipe.model.attention,
        "dtype": torch.bfloat16 if (recipe.model.lora if trained else precision == "bf16") else torch.float32,
    }
    if trained and recipe.model.lora and recipe.model.lora.four_bit:
        settings["quantization_config"] = _nf4()
    given = trained and recipe.cluster.sharding == "fsdp2" and not processes(recipe).is_main_process
    try:
        model = _without_weights(source, settings) if given else AutoModelForCausalLM.from_pretrained(source, **settings)
    except (OSError, ValueError) as error:
        raise RecipeError(f"model.path: no model at {source}: {str(error).splitlines()[0]}") from None
    if adapter is None:
        return model
    from peft import PeftModel

    wrapped = PeftModel.from_pretrained(model, str(adapter), is_trainable=trained)
    return wrapped if trained else wrapped.merge_and_unload()


def _without_weights(source: str, settings: Mapping[str, Any]) -> PreTrainedModel:
    """The model at `source` without its weights: under FSDP2 the main process reads them and gives the others their shards.

    Read by each, a node's eight processes would hold eight whole models at once. Memory that nothing was written to takes none.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
    from transformers.initialization import no_init_weights

    config = AutoConfig.from_pretrained(source, revision=settings["revision"], attn_implementation=settings["attn_implementation"])
    with no_init_weights():
        model = AutoModelForCausalLM.from_config(config, dtype=settings["dtype"])
    model.tie_weights()  # which is part of what was left out
    with contextlib.suppress(OSError):  # not every model has one
        model.generation_config = GenerationConfig.from_pretrained(source, revision=settings["revision"])
    return model


def accumulation(recipe: Recipe, batch: str, rows: int, micro_batch: int) -> int:
    """In how many parts each process takes its share of the `rows` of a `batch`.

    Raises RecipeError where the parts do not come out even: a launcher may have started more processes than the recipe knows.
    """
    count = processes(recipe).num_processes
    parts, rest = divmod(rows, micro_batch * count)
    if rest or not parts:
        raise RecipeError(f"{batch} ({rows}) must be a multiple of the micro_batch ({micro_batch}) x {count} training processes")
    return parts


def parameter_counts(recipe: Recipe) -> tuple[int, int]:
    """How many weights the recipe's model has and how many of them, or of adapters to them, are trained; none is loaded.

    Raises RecipeError where there is no such model, and where none of its layers has a name that lora.targets gives.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

    try:
        if recipe.model.scratch:
            config: Any = LlamaConfig(**recipe.model.scratch.model_dump(exclude={"rope_theta"}, exclude_none=True))
        else:
            config = AutoConfig.from_pretrained(str(recipe.model.path), revision=recipe.model.revision)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError) as error:
        raise RecipeError(f"model.path: no model at {recipe.model.path}: {str(error).splitlines()[0]}") from None
    weights, lora = model.num_parameters(), adapters(recipe.model.lora)
    if lora is None:
        return weights, weights
    from peft import get_peft_model

    try:
        return weights, get_peft_model(model, lora, low_cpu_mem_usage=True).get_nb_trainable_parameters()[0]
    except ValueError as error:
        raise RecipeError(f"model.lora: {str(error).splitlines()[0]}") from None


def adapters(lora: Lora | None) -> LoraConfig | None:
    """What TRL is given to wrap a fresh model in adapters, None for full training."""
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


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """The tokens of a prompt up to where the reply begins."""
    ids = tokenizer.apply_chat_template(as_chat(messages), add_generation_prompt=True, tokenize=True, return_dict=False)
    return list(ids)  # type: ignore[arg-type]


def as_chat(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages as chat templates and TRL take them."""
    return [{"role": message.role, "content": message.content} for message in messages]


def arguments(recipe: Recipe, stage: Distill | Rlvr, folder: Path) -> dict[str, Any]:
    """The training arguments that both stages share, by their names in transformers."""
    if "wandb" in recipe.track.to:
        os.environ["WANDB_PROJECT"] = recipe.track.project  # from nowhere else does transformers take W&B's
    return {
        "output_dir": str(folder / "checkpoints"),
        "run_name": f"{recipe.name}-{folder.name}",
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "per_device_train_batch_size": stage.micro_batch,
        "learning_rate": stage.learning_rate,
        "lr_scheduler_type": stage.schedule,
        "warmup_steps": stage.warmup,  # transformers reads a number below 1 as a share of all steps
        "max_grad_norm": stage.max_grad_norm,
        "bf16": stage.precision == "bf16",
        "use_cpu": recipe.cluster.gpus == 0,
        "gradient_checkpointing": recipe.model.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if recipe.model.gradient_checkpointing else None,
        "dataloader_pin_memory": recipe.cluster.gpus > 0,
        "save_strategy": "steps",
        "save_total_limit": 2,  # the one before the last is needed while the last is being written
        "logging_strategy": "steps",
        "report_to": list(recipe.track.to),
        "project": recipe.track.project,
        "disable_tqdm": True,
    }


def quiet() -> None:
    """Keep the libraries' own bars and notices from a run that shows its progress itself."""
    import datasets
    import transformers

    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", message=r"`(is_)?gradient_checkpointing(_\w+)?` is deprecated", category=FutureWarning)
    warnings.filterwarnings("ignore", message="You are using 'rollout_func'", category=UserWarning)
    # TRL calls them ignored, and loads the model that KL is measured against by them.
    logging.getLogger("trl.trainer.grpo_trainer").addFilter(lambda record: "model_init_kwargs" not in record.getMessage())


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint of a stage; one that a kill left half written does not count, and the main process removes it."""
    from accelerate import PartialState

    found = sorted(folder.glob("checkpoints/checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    whole = [path for path in found if (path / COMPLETE).exists()]
    if PartialState().is_main_process:
        for broken in set(found) - set(whole):
            shutil.rmtree(broken)
    return str(whole[-1]) if whole else None


def save(trainer: Trainer, tokenizer: PreTrainedTokenizerBase, folder: Path) -> Path:
    """Write what was trained into `folder` as safetensors, whole or not at all; every process must call it."""
    part = folder.with_name(folder.name + ".part")
    if trainer.is_world_process_zero():
        shutil.rmtree(part, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    if trainer.is_fsdp_enabled:
        plugin: Any = trainer.accelerator.state.fsdp_plugin
        plugin.set_state_dict_type("FULL_STATE_DICT")
    trainer.save_model(str(part))
    trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        (part / "training_args.bin").unlink(missing_ok=True)  # a pickle, and of no use to a model
        tokenizer.save_pretrained(str(part))
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    trainer.accelerator.wait_for_everyone()
    return folder


def weights_digest(folder: Path) -> str:
    """Twelve hex digits that name the weights of a model folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


@lru_cache(maxsize=1)  # fitting it takes seconds
def _new_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    return make_tokenizer(vocab_size)


def _nf4() -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
