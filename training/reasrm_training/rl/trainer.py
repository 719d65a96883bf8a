"""Stage 2: reinforcement learning with verifiable rewards, by TRL's GRPO."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reasrm.errors import InputError, Refused
from reasrm.parsing import parse
from reasrm.types import Message, NoVerdict, Order, Reading, Side
from reasrm_training.config.recipe import Recipe, RewardName, Rlvr
from reasrm_training.data.examples import PreferenceExample
from reasrm_training.model import devices, loading
from reasrm_training.rl import rewards
from reasrm_training.rl.rewards import JudgeRollout
from reasrm_training.run import monitor
from reasrm_training.run.monitor import Brake, StepLog

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from reasrm_training.rl.sglang_server import SglangServer

log = logging.getLogger(__name__)
REASONS = ("no_answer", "both_answers", "truncated", "unclosed_think", "refused", "empty")
SAMPLE_ROUNDS = 8  # rounds of a run whose first replies are kept to be read
SAMPLE_REPLIES = 4


@dataclass(frozen=True, slots=True)
class LabelledPrompt:
    """A prompt whose right verdict is known. `pair` names the pair, which stands in this `order`."""

    messages: tuple[Message, ...]
    gold: Side
    pair: str
    order: Order = "ab"
    strength: float | None = None


def train(
    recipe: Recipe,
    tasks: Sequence[LabelledPrompt],
    folder: Path,
    *,
    kind: Literal["rubric", "free"],
    start: Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    probed: Sequence[PreferenceExample] = (),
) -> Path:
    """Train the recipe's model (or `start`) on `tasks` and return the folder of the result, `folder`/model.

    Goes on from the newest whole checkpoint in `folder`; with rollouts by transformers the resumed run ends with the same
    weights as an unbroken one. `probed` are judged along the way, unless the model is sharded and samples by no server. Raises
    Refused where the run collapses (its checkpoints stay), InputError where no task fits.
    """
    from reasrm_training.rl import sampler

    stage = loading.required(recipe.rlvr, "rlvr")
    brake = Brake(stage)
    with sampler.serving(recipe, start, folder) as server:
        trainer = make_trainer(recipe, tasks, folder, kind=kind, start=start, callbacks=[*callbacks, brake], server=server)
        if probed and (server or recipe.cluster.sharding == "none"):
            trainer.add_callback(_probe(trainer, probed, recipe, folder, stage.updates_per_step))
        monitor.fit(trainer, folder)
    if brake.reason:
        step = trainer.state.global_step // stage.updates_per_step
        raise Refused(f"RL stopped itself at step {step}, it collapsed: {brake.reason}. Checkpoints: {folder}/checkpoints")
    return loading.save(trainer, trainer.processing_class, folder / "model")  # type: ignore[arg-type]


def _probe(trainer: GRPOTrainer, probed: Sequence[PreferenceExample], recipe: Recipe, folder: Path, stride: int) -> TrainerCallback:
    from reasrm_training.measure.probe import Probe
    from reasrm_training.measure.sampling import by_trainer
    from reasrm_training.rl.sampler import SglangTrainer

    if isinstance(trainer, SglangTrainer):
        return Probe(probed, recipe, folder, trainer.judge, before=trainer.load_weights, stride=stride)
    return Probe(probed, recipe, folder, by_trainer(trainer, max_tokens=recipe.reply_tokens), stride=stride)


def make_trainer(
    recipe: Recipe,
    tasks: Sequence[LabelledPrompt],
    folder: Path,
    *,
    kind: Literal["rubric", "free"],
    start: Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    server: SglangServer | None = None,
) -> GRPOTrainer:
    """TRL's trainer for `recipe`, ready to train; with `server`, the one that samples there."""
    from datasets import Dataset

    from reasrm_training.rl.sampler import SglangTrainer, TimedTrainer

    stage = loading.required(recipe.rlvr, "rlvr")
    settings = grpo_config(recipe, stage, folder)
    tokenizer = loading.load_tokenizer(recipe, start)
    fitting = [t for t in tasks if len(loading.prompt_ids(tokenizer, t.messages)) <= stage.max_prompt_tokens]
    if not fitting:
        raise InputError(f"none of the {len(tasks)} prompts fits into rlvr.max_prompt_tokens = {stage.max_prompt_tokens}")
    if len(fitting) < len(tasks):
        log.warning("%d of %d prompts are longer than rlvr.max_prompt_tokens and left out", len(tasks) - len(fitting), len(tasks))
    model = loading.load_policy(recipe, start, trained=True)
    devices.use_one_device(settings)
    if recipe.cluster.sharding == "fsdp2":
        devices.shard_references()
    reward = RewardFunction(stage, kind, tokenizer, StepLog(folder / "samples.jsonl"))
    sampling = {"server": server, "recipe": recipe, "folder": folder} if server else {}
    trainer = (SglangTrainer if server else TimedTrainer)(
        model=model,
        reward_funcs=[reward],
        args=settings,
        train_dataset=Dataset.from_list([_row(task) for task in schedule(fitting, stage, recipe.seed)]),
        processing_class=tokenizer,
        peft_config=None if hasattr(model, "peft_config") else loading.adapters(recipe.model.lora),
        callbacks=list(callbacks),
        **sampling,
    )
    devices.hold_in_full_precision(trainer)
    return trainer


def grpo_config(recipe: Recipe, stage: Rlvr, folder: Path) -> GRPOConfig:
    """TRL's arguments. A step of the recipe is one round of sampling and `updates_per_step` optimizer updates."""
    from trl import GRPOConfig

    from reasrm_training.rl.sampler import trl_arguments

    updates, replies = stage.updates_per_step, stage.mini_batch * stage.generations
    accumulate = loading.accumulation(recipe, "rlvr.mini_batch x generations", replies, stage.micro_batch)
    return GRPOConfig(
        **loading.arguments(recipe, stage, folder),
        max_steps=stage.steps * updates,
        save_steps=stage.save_steps * updates,  # between rounds, when no sampled reply waits to be used
        logging_steps=updates,
        gradient_accumulation_steps=accumulate,
        steps_per_generation=accumulate * updates,
        num_generations=stage.generations,
        max_completion_length=stage.max_completion_tokens,
        temperature=stage.temperature,
        top_p=stage.top_p,
        beta=stage.kl,
        model_init_kwargs={"revision": recipe.model.revision} if recipe.model.revision else None,  # of the model KL is against
        use_bias_correction_kl=False,  # RM-R1 adds the plain k3 estimator to the loss
        epsilon=stage.clip,
        epsilon_high=stage.clip_high,
        loss_type=stage.loss,
        scale_rewards=stage.scale_rewards,
        shuffle_dataset=False,  # `schedule` has the order
        **trl_arguments(recipe),
    )


def schedule(tasks: Sequence[LabelledPrompt], stage: Rlvr, seed: int) -> list[LabelledPrompt]:
    """The prompts of all steps in order, a function of `seed` alone: every task once, shuffled, before any comes again.

    Both orders of a pair stand side by side, so that they meet in one batch.
    """
    pairs: dict[str, list[LabelledPrompt]] = {}
    for task in tasks:
        pairs.setdefault(task.pair, []).append(task)
    groups = list(pairs.values())
    rng = random.Random(seed)
    out: list[LabelledPrompt] = []
    while len(out) < stage.steps * stage.prompts:
        rng.shuffle(groups)
        out.extend(task for group in groups for task in group)
    return out[: stage.steps * stage.prompts]


def _row(task: LabelledPrompt) -> dict[str, Any]:
    row = {name: getattr(task, name) for name in ("gold", "pair", "order", "strength")}
    return {"prompt": loading.as_chat(task.messages), **row}


class RewardFunction:
    """TRL's view of the rewards: one sum a reply, by the recipe's names and weights, and the numbers of each step.

    The replies of all processes are gathered first: a pair's two orders may sit on different ones.
    """

    __name__ = "reward"

    def __init__(self, stage: Rlvr, kind: Literal["rubric", "free"], tokenizer: PreTrainedTokenizerBase, samples: StepLog) -> None:
        self.stage = stage
        self.kind: Literal["rubric", "free"] = kind
        self.tokenizer = tokenizer
        self.samples = samples

    def __call__(
        self,
        *,
        prompts: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        gold: Sequence[Side],
        pair: Sequence[str],
        order: Sequence[Order],
        strength: Sequence[float | None],
        log_metric: Callable[[str, float], None],
        trainer_state: Any,
        **_: Any,
    ) -> list[float | None]:
        """The rewards of this process's replies; None where no reward applies."""
        mine = [
            (
                JudgeRollout(reply, side, self.kind, len(ids), self.stage.max_completion_tokens, much),
                (name, way),
                len(ids) >= self.stage.max_completion_tokens and ids[-1] != self.tokenizer.eos_token_id,
            )
            for reply, ids, side, name, way, much in zip(
                self.tokenizer.batch_decode(list(map(list, completion_ids)), skip_special_tokens=True),
                *(completion_ids, gold, pair, order, strength),
                strict=True,
            )
        ]
        first, everyone = _gathered(mine)
        found = rewards.twins([key for _, key, _ in everyone])
        texts = [rollout.reply for rollout, _, _ in everyone]
        batch = [
            replace(rollout, twin=None if twin is None else texts[twin])
            for (rollout, _, _), twin in zip(everyone, found, strict=True)
        ]
        readings = [parse(r.reply, kind=self.kind, truncated=cut) for r, _, cut in everyone]
        parts = [rewards.score(rollout, self.stage.reward) for rollout in batch]
        for name, value in (step_metrics(batch, readings, found) | self._rubric_tokens(readings) | _means(parts)).items():
            log_metric(name, value)
        values = [rewards.total(part, self.stage.reward) for part in parts]
        if first == 0:
            self._keep_samples(trainer_state, prompts, batch, values)
        return values[first : first + len(mine)]

    def _rubric_tokens(self, readings: Sequence[Reading]) -> dict[str, float]:
        texts = [r.rubric.text if r.rubric else r.solution or "" for r in readings if r.rubric or r.solution]
        if not texts:
            return {}
        counts = [len(ids) for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]]  # type: ignore[union-attr]
        return {"rubric_tokens": sum(counts) / len(counts)}

    def _keep_samples(self, state: Any, prompts: Sequence[Any], batch: Sequence[JudgeRollout], values: Sequence[float | None]) -> None:
        step = state.global_step // self.stage.updates_per_step
        if step % max(1, self.stage.steps // SAMPLE_ROUNDS):
            return
        self.samples.rewind(step - 1)
        stride = max(1, self.stage.generations)
        for index in range(0, min(len(prompts), stride * SAMPLE_REPLIES), stride):
            row = {"prompt": prompts[index][-1]["content"], "reply": batch[index].reply, "gold": batch[index].gold}
            self.samples.write(step, {**row, "reward": values[index]})


def step_metrics(batch: Sequence[JudgeRollout], readings: Sequence[Reading], found: Sequence[int | None]) -> dict[str, float]:
    """What the replies of one step say about the judge, as shares of the replies unless said otherwise.

    `p_a` is the share of verdicts that name A; `order_consistency` the share of pairs of replies, one to each order and both
    with a verdict, that name the same response. A share of nothing is left out.
    """
    answers = [reading.answer for reading in readings]
    given = [answer for answer in answers if answer]
    reasons = Counter(r.no_verdict.reason for r in readings if isinstance(r.no_verdict, NoVerdict))
    both = [(answers[i], answers[j]) for i, j in enumerate(found) if j is not None and i < j]
    judged = [(a, b) for a, b in both if a and b]
    metrics = {
        "verdict_accuracy": sum(a == r.gold for a, r in zip(answers, batch, strict=True)) / len(batch),
        "format": sum(rewards.well_formed(r.reply, r.kind) for r in batch) / len(batch),
        "no_verdict": 1.0 - len(given) / len(batch),
        **{f"no_verdict/{reason}": reasons[reason] / len(batch) for reason in REASONS},
    }
    if given:
        metrics["p_a"] = given.count("A") / len(given)
    if judged:
        metrics["order_consistency"] = sum(a != b for a, b in judged) / len(judged)
    return metrics


def _means(parts: Sequence[Mapping[RewardName, float | None]]) -> dict[str, float]:
    values = {name: [part[name] for part in parts if part[name] is not None] for name in parts[0]}
    return {f"rewards/{name}": sum(known) / len(known) for name, known in values.items() if known}  # type: ignore[arg-type]


def _gathered(mine: list[Any]) -> tuple[int, list[Any]]:
    """Where this process's part begins, and the parts of all processes in their order."""
    from accelerate import PartialState
    from accelerate.utils import gather_object

    state = PartialState()
    if state.num_processes == 1:
        return 0, mine
    return state.process_index * len(mine), gather_object(mine)
