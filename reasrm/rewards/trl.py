"""The judge inside TRL 1.x: a reward function for its trainers, and a win rate during training.

    reward = functools.partial(judge_reward, url="http://gateway:8900", num_generations=8)
    GRPOTrainer(..., reward_funcs=reward)

GRPO, RLOO and AsyncGRPO await `judge_reward`. OnlineDPO, A2PO and SDPO call reward functions without awaiting them: give these
`judge_reward_sync`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reasrm.errors import ConfigurationError, InputError
from reasrm.judging.group import MAX_RESPONSES, Rewarded, Totals
from reasrm.rewards.connection import GatewayConnections, ask, ask_and_wait
from reasrm.rewards.groups import GroupOptions, check_group, rank_group, reason_of, reward_rollout
from reasrm.rewards.texts import prompt_of, response_of
from reasrm.rewards.thinking import Thinking
from reasrm.rewards.win_rate import win_rate_callback

__all__ = ["judge_reward", "judge_reward_sync", "win_rate_callback"]
_PROCESS = uuid.uuid4().hex


async def judge_reward(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    *,
    url: str,
    num_generations: int | None = None,
    token: str | None = None,
    run: str | None = None,
    reference_column: str | None = None,
    timeout_s: float = 300.0,
    wait_s: float = 60.0,
    options: Mapping[str, Any] | None = None,
    thinking: Thinking = "strip",
    trainer_state: Any = None,
    log_metric: Callable[[str, float], None] | None = None,
    **columns: Any,
) -> list[float | None]:
    """A reward in (-1, 1) for each completion, relative to the others of its prompt; None, which TRL leaves out, without verdict.

    Bind `url` and `num_generations` with `functools.partial`; the result can be pickled. Prompts and completions are TRL's: texts
    or messages. TRL passes the local slice of a batch: whole groups in it are ranked at once. The gateway gathers a group that
    straddles ranks from all of them, within `wait_s` seconds (without `num_generations` a group is what the slice holds).
    `run` keeps training jobs apart; without it the ranks of this one draw a name that no other has.
    `reference_column` names a data set column with an answer to measure from; `options` are fields of `POST /v1/rank`; `thinking`
    says whether the policy's thoughts are left out ("strip") or judged ("keep").

    An outage, or a row that cannot be judged, is None, logged and counted in the metrics `judge/...`, and does not stop the
    training. Raises `InputError` for a mistake in the set-up (an argument, an option, the key, the address): every further step
    would be lost.
    """
    _check_columns(columns)
    batch = _Batch(url, token, timeout_s, wait_s, num_generations, GroupOptions.of(options), thinking)
    references = [None] * len(prompts) if reference_column is None else _column(columns, reference_column)
    step = f"{run or _this_job()}/{getattr(trainer_state, 'global_step', '')}"
    rewarded = await ask(lambda connections: batch.rewards(connections, prompts, completions, references, step))
    if log_metric is not None:
        for name, value in StepMetrics.of(rewarded).items():
            log_metric(f"judge/{name}", value)
    return [reward.reward for reward, _ in rewarded]


def judge_reward_sync(
    prompts: Sequence[Any], completions: Sequence[Any], *, no_verdict: float | None = None, **arguments: Any
) -> list[float | None]:
    """`judge_reward` for trainers that do not await reward functions (OnlineDPO, A2PO, SDPO), with the same arguments.

    Blocks the calling thread; it also works inside a running event loop. `no_verdict` stands for a missing reward where a trainer
    takes numbers only, as A2PO does.
    """

    async def rewards(_: GatewayConnections) -> list[float | None]:
        return await judge_reward(prompts, completions, **arguments)

    return [no_verdict if reward is None else reward for reward in ask_and_wait(rewards)]


def _check_columns(columns: Mapping[str, Any]) -> None:
    """Raise `ConfigurationError` for an argument that does not exist: TRL only adds columns, which are lists."""
    for name, value in columns.items():
        if isinstance(value, str | int | float | bool | Mapping):
            raise ConfigurationError(f"judge_reward has no argument {name!r}", field=name)


def _column(columns: Mapping[str, Any], name: str) -> list[Any]:
    if name not in columns:
        raise InputError(f"the data set has no column {name!r} (reference_column); it has {', '.join(sorted(columns))}", field=name)
    return list(columns[name])


def _this_job() -> str:
    """A name that all ranks of this training job share and no other job has.

    One rank draws it, and all ranks read it from torch's rendezvous store, which exists under every launcher. (Launchers may set
    equal names and ports for different jobs, and a collective in the middle of a step could mix with another one.)
    """
    mine = f"{_PROCESS}-{os.getpid()}"
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return mine
    store = distributed.distributed_c10d._get_default_store()
    return store.compare_set("reasrm/run", "", mine).decode()


@dataclass(frozen=True, slots=True)
class _Batch:
    """How a rank's slice of a batch is judged."""

    url: str
    token: str | None
    timeout_s: float
    wait_s: float
    size: int | None
    options: GroupOptions
    thinking: Thinking

    def __post_init__(self) -> None:
        check_group(self.size, "num_generations")

    async def rewards(
        self,
        connections: GatewayConnections,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        references: Sequence[Any],
        step: str,
    ) -> list[tuple[Rewarded, float]]:
        """The reward of each completion and its share of its group, in the order of the completions."""
        judge = connections.judge(self.url, self.token, self.timeout_s)
        rewarded: list[tuple[Rewarded, float] | None] = [None] * len(prompts)

        async def one_group(members: list[int]) -> None:
            question, begun, _ = prompt_of(prompts[members[0]])
            responses = [response_of(completions[index], begun, thinking=self.thinking) for index in members]
            reference = references[members[0]]
            reference = None if reference is None else response_of(reference, thinking=self.thinking)
            if self.size is None or len(members) == self.size:
                rewards = await rank_group(judge, question, responses, self.options, reference)
            else:
                cohort = {"cohort": self.size, "run": step, "wait_s": self.wait_s, "reference": reference}
                rewards = await asyncio.gather(
                    *(reward_rollout(judge, question, response, self.options, **cohort) for response in responses)
                )
            for index, reward in zip(members, rewards, strict=True):
                rewarded[index] = reward, 1.0 / (self.size or len(members))

        await asyncio.gather(*map(one_group, _groups(prompts, references, self.size)))
        return [reward for reward in rewarded if reward is not None]


def _groups(prompts: Sequence[Any], references: Sequence[Any], size: int | None) -> list[list[int]]:
    """The members of each group: runs of the same prompt, cut to at most `size`.

    Most trainers repeat each prompt for its generations, next to each other. A run at the slice's start may be the end of a group
    that another rank began, so it is cut from its end. OnlineDPO repeats the whole batch instead.
    """
    if size and _repeats(prompts, size):
        count = len(prompts) // size
        return [list(range(first, len(prompts), count)) for first in range(count)]
    runs: list[list[int]] = []
    for index, prompt in enumerate(prompts):
        before = index - 1
        if index and prompts[before] == prompt and references[before] == references[index]:
            runs[-1].append(index)
        else:
            runs.append([index])
    limit = size or MAX_RESPONSES
    groups: list[list[int]] = []
    for number, members in enumerate(runs):
        first = len(members) % limit if number == 0 else 0
        groups += [members[:first]] if first else []
        groups += [members[start : start + limit] for start in range(first, len(members), limit)]
    return groups


def _repeats(prompts: Sequence[Any], size: int) -> bool:
    """Whether `prompts` are several different ones, repeated `size` times as a whole."""
    count = len(prompts) // size
    whole = count > 1 and count * size == len(prompts) and any(prompts[0] != prompt for prompt in prompts)
    return whole and all(prompts[index] == prompts[index % count] for index in range(count, len(prompts)))


@dataclass
class StepMetrics:
    """The other results of a call besides the rewards, for the trainer's log.

    Each rollout brings its share of its group's totals, so that each group is counted once over all ranks.
    """

    reasons: Counter[str] = field(default_factory=Counter[str])
    sums: defaultdict[str, float] = field(default_factory=lambda: defaultdict[str, float](float))
    seconds: float = 0.0

    @classmethod
    def of(cls, rewarded: Sequence[tuple[Rewarded, float]]) -> dict[str, float]:
        """Shares and sums for the trainer's log, of rewards and their shares of their groups."""
        metrics = cls()
        for reward, share in rewarded:
            if reward.reward is None:
                metrics.reasons[reason_of(reward)] += 1
            if reward.totals is not None:
                metrics.add(reward.totals, share)
        return metrics.values(len(rewarded))

    def add(self, totals: Totals, share: float) -> None:
        """Count a rollout's share of its group's totals."""
        self.seconds = max(self.seconds, totals.seconds)
        for name in ("comparisons", "without_verdict", "cached", "both_orders", "consistent", "prompt_tokens", "completion_tokens"):
            self.sums[name] += share * getattr(totals, name)

    def values(self, rewards: int) -> dict[str, float]:
        """The metrics by name; `rewards` is the number of rewards."""
        values = {"no_verdict": sum(self.reasons.values()) / max(1, rewards)}
        values |= {f"no_verdict/{reason}": count / rewards for reason, count in self.reasons.items()}
        sums = self.sums
        if sums["comparisons"]:
            values |= {name: sums[name] for name in ("comparisons", "completion_tokens", "prompt_tokens")}
            values |= {
                "comparisons_without_verdict": sums["without_verdict"] / sums["comparisons"],
                "cached": sums["cached"] / sums["comparisons"],
                "seconds": self.seconds,
            }
            values |= {"order_consistency": sums["consistent"] / sums["both_orders"]} if sums["both_orders"] else {}
        return values
