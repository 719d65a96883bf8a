"""Stage 1: distillation of reasoning chains into the policy by supervised fine-tuning, with the loss on the reply only."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from reasrm.errors import InputError
from reasrm_training.config.recipe import Recipe
from reasrm_training.config.training import Distill
from reasrm_training.data.examples import PreferenceExample
from reasrm_training.loop.arguments import accumulation, arguments, required
from reasrm_training.loop.checkpoints import last_checkpoint, save
from reasrm_training.loop.fit import fit
from reasrm_training.measure.generation import by_trainer
from reasrm_training.measure.probe import Probe
from reasrm_training.model import devices
from reasrm_training.model.loading import adapters, load_policy
from reasrm_training.model.tokenizer import load_tokenizer, prompt_ids
from reasrm_training.oracle import Chain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, TrainerCallback

log = logging.getLogger(__name__)
WINDOW = 16  # batches within which rows are grouped by their length


def train(
    recipe: Recipe,
    chains: Sequence[Chain],
    folder: Path,
    *,
    start: Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    probed: Sequence[PreferenceExample] = (),
) -> Path:
    """Train the recipe's model (or the one in `start`) on `chains` and return the folder of the result, `folder`/model.

    It goes on from the newest complete checkpoint in `folder`, and ends with the same weights as a run that was never stopped.
    `probed` are judged along the way, unless the model is sharded. Raises InputError where no chain fits.
    """
    trainer = make_trainer(recipe, chains, folder, start=start, callbacks=callbacks)
    if probed and recipe.cluster.sharding == "none":
        trainer.add_callback(Probe(probed, recipe, folder, by_trainer(trainer, max_tokens=recipe.reply_tokens)))
    trainer._total_train_tokens = _tokens_before(last_checkpoint(folder))  # TRL would count from 0 again
    fit(trainer, folder)
    return save(trainer, trainer.processing_class, folder / "model")  # type: ignore[arg-type]


def make_trainer(
    recipe: Recipe,
    chains: Sequence[Chain],
    folder: Path,
    *,
    start: Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> SFTTrainer:
    """TRL's trainer for `recipe`, ready to train. Raises InputError where no chain fits."""
    stage = required(recipe.distill, "distill")
    tokenizer = load_tokenizer(recipe, start)
    rows = _rows(chains, tokenizer, stage)
    # Before the model is loaded, as transformers learns of ZeRO-3 here. Each process then keeps only its share of the weights.
    args = sft_config(recipe, stage, folder)
    devices.use_one_device(args)
    model = load_policy(recipe, start, trained=True)
    trainer = SFTTrainer(
        model=model,
        args=args,
        train_dataset=Dataset.from_list(rows if stage.packing else _in_order(rows, stage, recipe.seed)),
        processing_class=tokenizer,
        peft_config=None if hasattr(model, "peft_config") else adapters(recipe.model.lora),
        callbacks=list(callbacks),
    )
    devices.hold_in_full_precision(trainer)
    return trainer


def sft_config(recipe: Recipe, stage: Distill, folder: Path) -> SFTConfig:
    """TRL's arguments."""
    return SFTConfig(
        **arguments(recipe, stage, folder),
        gradient_accumulation_steps=accumulation(recipe, "distill.batch", stage.batch, stage.micro_batch),
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


def _rows(chains: Sequence[Chain], tokenizer: PreTrainedTokenizerBase, stage: Distill) -> list[dict[str, Any]]:
    """The rows of the chains within `max_length`. Raises InputError where there are none."""
    rows = [row for chain in chains if (row := encode(tokenizer, chain, stage.max_length))]
    if not rows:
        raise InputError(f"none of the {len(chains)} chains fits into distill.max_length = {stage.max_length} tokens")
    if len(rows) < len(chains):
        dropped = len(chains) - len(rows)
        log.warning("%d of %d chains are longer than distill.max_length and are left out", dropped, len(chains))
    return rows


def _in_order(rows: Sequence[dict[str, Any]], stage: Distill, seed: int) -> list[dict[str, Any]]:
    """The rows of the whole run, in the order in which it takes them."""
    places = stage.steps * stage.batch if stage.steps else round(stage.epochs * len(rows))
    return [rows[i] for i in order_of([len(row["input_ids"]) for row in rows], places, stage.micro_batch, seed)]


def encode(tokenizer: PreTrainedTokenizerBase, chain: Chain, max_length: int) -> dict[str, Any] | None:
    """One row for TRL: `input_ids`, and `completion_mask` with 1 on the reply and its end token. None if it is too long.

    Prompt and reply are tokenized separately, as they are when the judge writes. So a chat template that rewrites earlier turns
    (some cut out the thinking) never sees the reply.
    """
    prompt = prompt_ids(tokenizer, chain.messages)
    reply = chain.reply
    if str(tokenizer.decode(prompt[-8:])).rstrip().endswith("<think>"):  # the template has opened the thought already
        reply = reply.lstrip().removeprefix("<think>").lstrip("\n")
    reply_ids = [*tokenizer(reply, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]  # type: ignore[misc]
    if len(prompt) + len(reply_ids) > max_length:
        return None
    return {"input_ids": prompt + reply_ids, "completion_mask": [0] * len(prompt) + [1] * len(reply_ids)}


def order_of(lengths: Sequence[int], places: int, batch: int, seed: int) -> list[int]:
    """The indices of the rows at the first `places` places of a run, a function of `seed` alone: each once before any comes again.

    Batches hold rows of similar length, so that little is padded. The order of the batches is random.
    """
    rng = random.Random(seed)
    order: list[int] = []
    while len(order) < places:
        epoch = list(range(len(lengths)))
        rng.shuffle(epoch)
        window = batch * WINDOW
        for start in range(0, len(epoch), window):
            near = sorted(epoch[start : start + window], key=lambda row: lengths[row])
            batches = [near[i : i + batch] for i in range(0, len(near), batch)]
            rng.shuffle(batches)
            order.extend(row for members in batches for row in members)
    return order[:places]


def _tokens_before(checkpoint: str | None) -> int:
    """The number of tokens that a run had seen at `checkpoint`."""
    if checkpoint is None:
        return 0
    history = json.loads((Path(checkpoint) / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    return int(max((row.get("num_tokens", 0) for row in history), default=0))
