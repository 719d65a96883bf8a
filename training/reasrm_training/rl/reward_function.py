"""The reward function that TRL calls after each round of sampling, and the numbers that the replies of a round give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from reasrm.parsing import parse
from reasrm.types import NoVerdict, Order, Reading, Side
from reasrm_training import rewards
from reasrm_training.config.training import RewardName, Rlvr
from reasrm_training.data.step_log import StepLog
from reasrm_training.rewards import JudgeRollout

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REASONS = ("no_answer", "both_answers", "truncated", "unclosed_think", "refused", "empty")
SAMPLE_ROUNDS = 8  # rounds of a run from which some replies are kept for people to read
SAMPLE_REPLIES = 4


class _LocalReply(NamedTuple):
    """A reply of one process, on its way to the others."""

    rollout: JudgeRollout
    key: tuple[str, Order]  # the pair's id and the order in which it was shown


@dataclass
class RewardFunction:
    """One reward per reply, by the recipe's names and weights, and the numbers of each step.

    The replies of all processes are gathered first, as a pair's two orders may sit on different ones.
    """

    stage: Rlvr
    kind: Literal["rubric", "free"]
    tokenizer: PreTrainedTokenizerBase
    samples: StepLog

    __name__ = "reward"  # TRL logs it under this name

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
        """The rewards of this process's replies, one per reply; None where no reward applies."""
        local = self._local_replies(completion_ids, gold, pair, order, strength)
        start, replies = _gathered(local)
        twins = rewards.twins([reply.key for reply in replies])
        rollouts = _with_twins([reply.rollout for reply in replies], twins)
        readings = [parse(rollout.reply, kind=rollout.kind, truncated=rollout.truncated) for rollout in rollouts]
        scores = [rewards.score(rollout, self.stage.reward) for rollout in rollouts]
        metrics = step_metrics(rollouts, readings, twins) | self._rubric_tokens(readings) | _means(scores)
        for name, value in metrics.items():
            log_metric(name, value)
        totals = [rewards.total(score, self.stage.reward) for score in scores]
        if start == 0:
            self._keep_samples(trainer_state, prompts, rollouts, totals)
        return totals[start : start + len(local)]

    def _local_replies(
        self,
        completion_ids: Sequence[Sequence[int]],
        gold: Sequence[Side],
        pair: Sequence[str],
        order: Sequence[Order],
        strength: Sequence[float | None],
    ) -> list[_LocalReply]:
        limit = self.stage.max_completion_tokens
        texts = self.tokenizer.batch_decode(list(map(list, completion_ids)), skip_special_tokens=True)
        return [
            _LocalReply(
                JudgeRollout(
                    text,
                    gold[i],
                    self.kind,
                    tokens=len(ids),
                    limit=limit,
                    truncated=len(ids) >= limit and ids[-1] != self.tokenizer.eos_token_id,
                    strength=strength[i],
                ),
                (pair[i], order[i]),
            )
            for i, (text, ids) in enumerate(zip(texts, completion_ids, strict=True))
        ]

    def _rubric_tokens(self, readings: Sequence[Reading]) -> dict[str, float]:
        """The mean length of the rubrics or solutions, where a reply has one."""
        texts = [r.rubric.text if r.rubric else r.solution or "" for r in readings if r.rubric or r.solution]
        if not texts:
            return {}
        counts = [len(ids) for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]]  # type: ignore[union-attr]
        return {"rubric_tokens": sum(counts) / len(counts)}

    def _keep_samples(
        self, state: Any, prompts: Sequence[Any], rollouts: Sequence[JudgeRollout], totals: Sequence[float | None]
    ) -> None:
        step = state.global_step // self.stage.updates_per_step
        if step % max(1, self.stage.steps // SAMPLE_ROUNDS):
            return
        self.samples.rewind(step - 1)
        stride = max(1, self.stage.generations)
        for index in range(0, min(len(prompts), stride * SAMPLE_REPLIES), stride):
            row = {"prompt": prompts[index][-1]["content"], "reply": rollouts[index].reply, "gold": rollouts[index].gold}
            self.samples.write(step, {**row, "reward": totals[index]})


def _with_twins(rollouts: Sequence[JudgeRollout], twins: Sequence[int | None]) -> list[JudgeRollout]:
    return [replace(rollout, twin=None if twin is None else rollouts[twin]) for rollout, twin in zip(rollouts, twins, strict=True)]


def step_metrics(rollouts: Sequence[JudgeRollout], readings: Sequence[Reading], twins: Sequence[int | None]) -> dict[str, float]:
    """The numbers of one step's replies, as shares of the replies unless stated otherwise.

    `p_a` is the share of verdicts that name A. `order_consistency` is the share of twin replies, both with a verdict, that
    name the same response. A share of nothing is left out.
    """
    answers = [reading.answer for reading in readings]
    verdicts = [answer for answer in answers if answer]
    reasons = Counter(r.no_verdict.reason for r in readings if isinstance(r.no_verdict, NoVerdict))
    pairs = [(answers[i], answers[j]) for i, j in enumerate(twins) if j is not None and i < j]
    decided = [(a, b) for a, b in pairs if a and b]
    metrics = {
        "verdict_accuracy": sum(a == r.gold for a, r in zip(answers, rollouts, strict=True)) / len(rollouts),
        "format": sum(rewards.well_formed(r.reply, r.kind) for r in rollouts) / len(rollouts),
        "no_verdict": 1.0 - len(verdicts) / len(rollouts),
        **{f"no_verdict/{reason}": reasons[reason] / len(rollouts) for reason in REASONS},
    }
    if verdicts:
        metrics["p_a"] = verdicts.count("A") / len(verdicts)
    if decided:
        metrics["order_consistency"] = sum(a != b for a, b in decided) / len(decided)
    return metrics


def _means(scores: Sequence[Mapping[RewardName, float | None]]) -> dict[str, float]:
    """The mean of each reward over the replies that it applies to."""
    values = {name: [score[name] for score in scores if score[name] is not None] for name in scores[0]}
    return {f"rewards/{name}": sum(known) / len(known) for name, known in values.items() if known}  # type: ignore[arg-type]


def _gathered(local: list[_LocalReply]) -> tuple[int, list[_LocalReply]]:
    """The index at which this process's replies begin, and the replies of all processes in their order."""
    from accelerate import PartialState
    from accelerate.utils import gather_object

    state = PartialState()
    if state.num_processes == 1:
        return 0, local
    return state.process_index * len(local), gather_object(local)
