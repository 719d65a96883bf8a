"""A few held-out pairs that are judged several times while a stage trains, so that people can read how the judge changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from reasrm.prompts import load_pack
from reasrm_training.config.recipe import Recipe
from reasrm_training.data.examples import PreferenceExample
from reasrm_training.data.step_log import StepLog
from reasrm_training.measure.evaluate import judge, row_of
from reasrm_training.measure.generation import Generate

JUDGMENTS = "judgments.jsonl"
ROUNDS = 4  # besides the one before the first step


class Probe(TrainerCallback):
    """Judges `examples` greedily in both orders, before the first step and at every quarter of the steps; writes into `folder`.

    Only the main process calls `generate`, after every process has called `before`. `stride` is the number of optimizer
    updates that count as one step. The probe changes nothing in the training.
    """

    def __init__(
        self,
        examples: Sequence[PreferenceExample],
        recipe: Recipe,
        folder: Path,
        generate: Generate,
        *,
        before: Callable[[], None] = lambda: None,
        stride: int = 1,
    ) -> None:
        self.examples = examples
        self.pack = load_pack(recipe.prompts)
        self.key = recipe.fence_key
        self.log = StepLog(folder / JUDGMENTS)
        self.generate = generate
        self.before = before
        self.stride = stride

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        step = state.global_step // self.stride
        if state.is_world_process_zero:
            self.log.rewind(step if step else -1)
        if step == 0:
            self._judge(0, state)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        step, within = divmod(state.global_step, self.stride)
        if within == 0 and step in probe_steps(state.max_steps // self.stride):
            self._judge(step, state)

    def _judge(self, step: int, state: TrainerState) -> None:
        self.before()
        if state.is_world_process_zero:
            for judged in judge(self.examples, self.generate, self.pack, self.key, temperature=0.0, seed=0):
                self.log.write(step, row_of(judged))


def probe_steps(steps: int) -> set[int]:
    """The steps, out of `steps`, after which the pairs are judged."""
    return {max(1, round(steps * number / ROUNDS)) for number in range(1, ROUNDS + 1)}


def probe_pairs(heldout: Iterable[PreferenceExample], count: int) -> list[PreferenceExample]:
    """`count` examples near the beginning, from as many subsets as possible."""
    first_of_subset: dict[str, PreferenceExample] = {}
    others: list[PreferenceExample] = []
    for example in heldout:
        if len(first_of_subset) >= count:
            break
        if first_of_subset.setdefault(example.subset, example) is not example and len(others) < count:
            others.append(example)
    return [*first_of_subset.values(), *others][:count]
