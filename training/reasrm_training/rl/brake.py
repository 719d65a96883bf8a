"""The brake on RL: it stops a run whose judge has collapsed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from reasrm_training.config.training import Guard, Rlvr


class Brake(TrainerCallback):
    """Stops a run whose numbers break one of the guard's bounds at `patience` logged steps in a row, and keeps the `reason`.

    It reads the trainer's own history, which checkpoints keep, so that a resumed run stops at the same step as an unbroken one.
    """

    def __init__(self, rlvr: Rlvr) -> None:
        self.guard = rlvr.guard
        self.limit = rlvr.max_completion_tokens
        self.reason: str | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._check(state, control)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any) -> None:
        self._check(state, control)

    def _check(self, state: TrainerState, control: TrainerControl) -> None:
        recent = [row for row in state.log_history if "reward" in row][-self.guard.patience :]
        if len(recent) < self.guard.patience:
            return
        broken = [breaches(row, self.guard, self.limit) for row in recent]
        lasting = set(broken[0]).intersection(*broken[1:])
        if lasting:
            self.reason = "; ".join(broken[-1][name] for name in sorted(lasting))
            control.should_training_stop = True


def breaches(row: Mapping[str, float], guard: Guard, limit: int) -> dict[str, str]:
    """The bounds that one step's numbers break: name -> what is wrong. `limit` is the most tokens that a reply may have."""
    low, high = guard.probability_a
    p_a, form, entropy = row.get("p_a"), row.get("format"), row.get("entropy")
    tokens = row.get("completions/mean_length")
    broken: dict[str, str] = {}
    if p_a is not None and not low <= p_a <= high:
        broken["p_a"] = f"{p_a:.0%} of the verdicts name A (allowed: {low:.0%} to {high:.0%})"
    if form is not None and form < guard.min_format:
        broken["format"] = f"{form:.0%} of the replies are well-formed (at least {guard.min_format:.0%})"
    if tokens is not None and tokens > guard.max_length_share * limit:
        broken["length"] = f"replies have {tokens:.0f} tokens on average, of {limit} that fit"
    if entropy is not None and entropy < guard.min_entropy:
        broken["entropy"] = f"entropy is {entropy:.4f} nats per token (at least {guard.min_entropy})"
    return broken
