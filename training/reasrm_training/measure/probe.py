"""A few held-out pairs, judged again and again while a stage trains: how the judge changes can then be read, not only plotted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from reasrm.prompts import load_pack
from reasrm_training.config.recipe import Recipe
from reasrm_training.data.examples import PreferenceExample
from reasrm_training.measure.evaluate import judge, row_of
from reasrm_training.measure.sampling import Generate
from reasrm_training.run.monitor import StepLog

JUDGMENTS = "judgments.jsonl"
ROUNDS = 4  # after the one before the first step


class Probe(TrainerCallback):
    """Judges `examples` greedily in both orders before the first step and at every quarter of the steps, into `folder`.

    `generate` is called on the main process alone, after every process has called `before`. `stride` is the number of
    optimizer updates that count as one step. Nothing of the training depends on what is done here.
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
        self.journal = StepLog(folder / JUDGMENTS)
        self.generate = generate
        self.before = before
        self.stride = stride

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        step = state.global_step // self.stride
        if state.is_world_process_zero:
            self.journal.rewind(step if step else -1)
        if step == 0:
            self._judge(0, state)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        step, within = divmod(state.global_step, self.stride)
        if within == 0 and step in due(state.max_steps // self.stride):
            self._judge(step, state)

    def _judge(self, step: int, state: TrainerState) -> None:
        self.before()
        if state.is_world_process_zero:
            for judged in judge(self.examples, self.generate, self.pack, self.key, temperature=0.0, seed=0):
                self.journal.write(step, row_of(judged))


def due(steps: int) -> set[int]:
    """After which of `steps` steps there is a round."""
    return {max(1, round(steps * turn / ROUNDS)) for turn in range(1, ROUNDS + 1)}


def chosen(heldout: Iterable[PreferenceExample], count: int) -> list[PreferenceExample]:
    """`count` examples, of as many subsets as there are near the beginning."""
    firsts: dict[str, PreferenceExample] = {}
    others: list[PreferenceExample] = []
    for example in heldout:
        if len(firsts) >= count:
            break
        if firsts.setdefault(example.subset, example) is not example and len(others) < count:
            others.append(example)
    return [*firsts.values(), *others][:count]
