"""Stage 1: distillation of reasoning chains into the policy by supervised fine-tuning, with the loss on the reply only."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasrm.errors import InputError
from reasrm_training.config.recipe import Recipe
from reasrm_training.data.examples import PreferenceExample
from reasrm_training.model import devices, loading
from reasrm_training.oracle import Chain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, TrainerCallback
    from trl import SFTTrainer

log = logging.getLogger(__name__)
WINDOW = 16  # batches within which rows are put together by their length


def train(
    recipe: Recipe,
    chains: Sequence[Chain],
    folder: Path,
    *,
    start: Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    probed: Sequence[PreferenceExample] = (),
) -> Path:
    """Train the recipe's model (or `start`) on `chains` and return the folder of the result, `folder`/model.

    Goes on from the newest whole checkpoint in `folder`, and then ends with the same weights as a run that was never broken
    off. `probed` are judged along the way, unless the model is sharded. Raises InputError where no chain fits.
    """
    from reasrm_training.measure.probe import Probe
    from reasrm_training.measure.sampling import by_trainer
    from reasrm_training.run import monitor

    trainer = make_trainer(recipe, chains, folder, start=start, callbacks=callbacks)
    if probed and recipe.cluster.sharding == "none":
        trainer.add_callback(Probe(probed, recipe, folder, by_trainer(trainer, max_tokens=recipe.reply_tokens)))
    trainer._total_train_tokens = _tokens_before(loading.last_checkpoint(folder))  # TRL would count anew
    monitor.fit(trainer, folder)
    return loading.save(trainer, trainer.processing_class, folder / "model")  # type: ignore[arg-type]


def make_trainer(
    recipe: Recipe,
    chains: Sequence[Chain],
    folder: Path,
    *,
    start: Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> SFTTrainer:
    """TRL's trainer for `recipe`, ready to train."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    stage = loading.required(recipe.distill, "distill")
    settings = loading.arguments(recipe, stage, folder)
    tokenizer = loading.load_tokenizer(recipe, start)
    rows = [row for chain in chains if (row := encode(tokenizer, chain, stage.max_length))]
    if not rows:
        raise InputError(f"none of the {len(chains)} chains fits into distill.max_length = {stage.max_length} tokens")
    if len(rows) < len(chains):
        dropped = len(chains) - len(rows)
        log.warning("%d of %d chains are longer than distill.max_length and left out", dropped, len(chains))
    wanted = stage.steps * stage.batch if stage.steps else round(stage.epochs * len(rows))
    order = order_of([len(row["input_ids"]) for row in rows], wanted, stage.micro_batch, recipe.seed)
    accumulate = loading.accumulation(recipe, "distill.batch", stage.batch, stage.micro_batch)
    # Before the model is loaded: by these ZeRO-3 is known, and each process then keeps its share of the weights only.
    args = SFTConfig(
        **settings,
        gradient_accumulation_steps=accumulate,
        num_train_epochs=stage.epochs if stage.packing else 1,
        max_steps=stage.steps or -1,
        adam_beta2=stage.adam_beta2,
        weight_decay=stage.weight_decay,
        max_length=stage.max_length,
        packing=stage.packing,
        completion_only_loss=True,
        shuffle_dataset=stage.packing,
        train_sampling_strategy="random" if stage.packing else "sequential",
        logging_steps=max(1, min(10, stage.save_steps)),
        save_steps=stage.save_steps,
    )
    devices.use_one_device(args)
    model = loading.load_policy(recipe, start, trained=True)
    trainer = SFTTrainer(
        model=model,
        args=args,
        train_dataset=Dataset.from_list(rows if stage.packing else [rows[i] for i in order]),
        processing_class=tokenizer,
        peft_config=None if hasattr(model, "peft_config") else loading.adapters(recipe.model.lora),
        callbacks=list(callbacks),
    )
    devices.hold_in_full_precision(trainer)
    return trainer


def encode(tokenizer: PreTrainedTokenizerBase, chain: Chain, max_length: int) -> dict[str, Any] | None:
    """One row for TRL: `input_ids`, and `completion_mask` with 1 on the reply and its end token; None if it is too long.

    Prompt and reply are tokenized apart, as they are when the judge writes; a chat template that rewrites earlier turns (some
    cut out the thinking) never sees the reply.
    """
    prompt = loading.prompt_ids(tokenizer, chain.messages)
    reply = chain.reply
    if str(tokenizer.decode(prompt[-8:])).rstrip().endswith("<think>"):  # the template has opened the thought already
        reply = reply.lstrip().removeprefix("<think>").lstrip("\n")
    written = [*tokenizer(reply, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]  # type: ignore[misc]
    if len(prompt) + len(written) > max_length:
        return None
    return {"input_ids": prompt + written, "completion_mask": [0] * len(prompt) + [1] * len(written)}


def order_of(lengths: Sequence[int], wanted: int, batch: int, seed: int) -> list[int]:
    """The rows of `wanted` places in a training run, a function of `seed` alone: each row once before any comes again.

    Batches hold rows of like length, so that little is padded; which lengths come when is random.
    """
    rng = random.Random(seed)
    order: list[int] = []
    while len(order) < wanted:
        epoch = list(range(len(lengths)))
        rng.shuffle(epoch)
        window = batch * WINDOW
        for start in range(0, len(epoch), window):
            near = sorted(epoch[start : start + window], key=lambda row: lengths[row])
            batches = [near[i : i + batch] for i in range(0, len(near), batch)]
            rng.shuffle(batches)
            order.extend(row for one in batches for row in one)
    return order[:wanted]


def _tokens_before(checkpoint: str | None) -> int:
    """How many tokens a run had seen at `checkpoint`."""
    if checkpoint is None:
        return 0
    history = json.loads((Path(checkpoint) / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    return int(max((row.get("num_tokens", 0) for row in history), default=0))
