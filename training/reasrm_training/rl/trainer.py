"""Stage 2: reinforcement learning with verifiable rewards, by TRL's GRPO."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from reasrm.errors import InputError, Refused
from reasrm_training.config.recipe import Recipe
from reasrm_training.config.training import Rlvr
from reasrm_training.data.examples import PreferenceExample
from reasrm_training.data.step_log import StepLog
from reasrm_training.loop.arguments import accumulation, arguments, required
from reasrm_training.loop.checkpoints import save
from reasrm_training.loop.fit import fit
from reasrm_training.measure.generation import by_trainer
from reasrm_training.measure.probe import Probe
from reasrm_training.model import devices
from reasrm_training.model.loading import adapters, load_policy
from reasrm_training.model.tokenizer import as_chat, load_tokenizer, prompt_ids
from reasrm_training.rl import sampler
from reasrm_training.rl.brake import Brake
from reasrm_training.rl.prompts import LabelledPrompt, schedule
from reasrm_training.rl.reward_function import RewardFunction
from reasrm_training.rl.sglang_trainer import SglangTrainer
from reasrm_training.rl.timed_trainer import TimedTrainer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, TrainerCallback

    from reasrm_training.model.sglang_server import SglangServer

log = logging.getLogger(__name__)


def train(
    recipe: Recipe,
    prompts: Sequence[LabelledPrompt],
    folder: Path,
    *,
    kind: Literal["rubric", "free"],
    start: Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    probed: Sequence[PreferenceExample] = (),
) -> Path:
    """Train the recipe's model (or the one in `start`) on `prompts` and return the folder of the result, `folder`/model.

    It goes on from the newest complete checkpoint in `folder`. With rollouts by transformers a resumed run ends with the same
    weights as an unbroken one. `probed` are judged along the way, unless the model is sharded and no server samples. Raises
    Refused where the judge collapses (the checkpoints stay), InputError where no prompt fits.
    """
    stage = required(recipe.rlvr, "rlvr")
    brake = Brake(stage)
    with sampler.serving(recipe, start, folder) as server:
        trainer = make_trainer(recipe, prompts, folder, kind=kind, start=start, callbacks=[*callbacks, brake], server=server)
        if probed and (server or recipe.cluster.sharding == "none"):
            trainer.add_callback(_probe(trainer, probed, recipe, folder, stage.updates_per_step))
        fit(trainer, folder)
    if brake.reason:
        step = trainer.state.global_step // stage.updates_per_step
        raise Refused(f"RL stopped itself at step {step}, the judge collapsed: {brake.reason}. Checkpoints: {folder}/checkpoints")
    return save(trainer, trainer.processing_class, folder / "model")  # type: ignore[arg-type]


def _probe(trainer: GRPOTrainer, probed: Sequence[PreferenceExample], recipe: Recipe, folder: Path, stride: int) -> Probe:
    if isinstance(trainer, SglangTrainer):
        return Probe(probed, recipe, folder, trainer.judge, before=trainer.load_weights, stride=stride)
    return Probe(probed, recipe, folder, by_trainer(trainer, max_tokens=recipe.reply_tokens), stride=stride)


def make_trainer(
    recipe: Recipe,
    prompts: Sequence[LabelledPrompt],
    folder: Path,
    *,
    kind: Literal["rubric", "free"],
    start: Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    server: SglangServer | None = None,
) -> GRPOTrainer:
    """TRL's trainer for `recipe`, ready to train. With a `server`, its replies are sampled there. Raises InputError."""
    stage = required(recipe.rlvr, "rlvr")
    settings = grpo_config(recipe, stage, folder)
    tokenizer = load_tokenizer(recipe, start)
    fitting = _fitting(prompts, tokenizer, stage)
    model = load_policy(recipe, start, trained=True)
    devices.use_one_device(settings)
    if recipe.cluster.sharding == "fsdp2":
        devices.shard_references()
    sampling = {"server": server, "recipe": recipe, "folder": folder} if server else {}
    trainer = (SglangTrainer if server else TimedTrainer)(
        model=model,
        reward_funcs=[RewardFunction(stage, kind, tokenizer, StepLog(folder / "samples.jsonl"))],
        args=settings,
        train_dataset=Dataset.from_list([_row(prompt) for prompt in schedule(fitting, stage, recipe.seed)]),
        processing_class=tokenizer,
        peft_config=None if hasattr(model, "peft_config") else adapters(recipe.model.lora),
        callbacks=list(callbacks),
        **sampling,
    )
    devices.hold_in_full_precision(trainer)
    return trainer


def _fitting(prompts: Sequence[LabelledPrompt], tokenizer: PreTrainedTokenizerBase, stage: Rlvr) -> list[LabelledPrompt]:
    """The prompts within `max_prompt_tokens`. Raises InputError where there are none."""
    limit = stage.max_prompt_tokens
    fitting = [prompt for prompt in prompts if len(prompt_ids(tokenizer, prompt.messages)) <= limit]
    if not fitting:
        raise InputError(f"none of the {len(prompts)} prompts fits into rlvr.max_prompt_tokens = {limit}")
    if len(fitting) < len(prompts):
        log.warning(
            "%d of %d prompts are longer than rlvr.max_prompt_tokens and are left out", len(prompts) - len(fitting), len(prompts)
        )
    return fitting


def grpo_config(recipe: Recipe, stage: Rlvr, folder: Path) -> GRPOConfig:
    """TRL's arguments. A step of the recipe is one round of sampling and `updates_per_step` optimizer updates."""
    updates, replies = stage.updates_per_step, stage.mini_batch * stage.generations
    accumulate = accumulation(recipe, "rlvr.mini_batch x generations", replies, stage.micro_batch)
    return GRPOConfig(
        **arguments(recipe, stage, folder),
        max_steps=stage.steps * updates,
        save_steps=stage.save_steps * updates,  # between rounds, when no sampled reply is still to be used
        logging_steps=updates,
        gradient_accumulation_steps=accumulate,
        steps_per_generation=accumulate * updates,
        num_generations=stage.generations,
        max_completion_length=stage.max_completion_tokens,
        temperature=stage.temperature,
        top_p=stage.top_p,
        beta=stage.kl,
        model_init_kwargs={"revision": recipe.model.revision} if recipe.model.revision else None,  # of the KL's reference model
        use_bias_correction_kl=False,  # RM-R1 adds the plain k3 estimator to the loss
        epsilon=stage.clip,
        epsilon_high=stage.clip_high,
        loss_type=stage.loss,
        scale_rewards=stage.scale_rewards,
        shuffle_dataset=False,  # `schedule` decides the order
        **sampler.trl_arguments(recipe),
    )


def _row(prompt: LabelledPrompt) -> dict[str, Any]:
    row = {name: getattr(prompt, name) for name in ("gold", "pair", "order", "strength")}
    return {"prompt": as_chat(prompt.messages), **row}
