"""Reward functions for slime and miles.

    --group-rm --custom-rm-path reasrm.rewards.slime.batched_custom_rm --rm-url http://gateway:8900

Without `--group-rm` slime calls the same function with one sample at a time; the gateway then gathers the prompt's samples. A data
set of an evaluation names `reasrm.rewards.slime.eval_custom_rm`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from reasrm.client import Judge
from reasrm.errors import ConfigurationError
from reasrm.judging.group import Rewarded
from reasrm.rewards.connection import GatewayConnections, ask
from reasrm.rewards.groups import GroupOptions, check_group, rank_group, reward_rollout
from reasrm.rewards.texts import prompt_of, response_of
from reasrm.rewards.thinking import Thinking

TIMEOUT_S, WAIT_S = 300.0, 60.0


async def batched_custom_rm(args: Any, samples: Any, **_: Any) -> Any:
    """A reward for one sample, for each of a list of samples, or for each of a list of rollouts that are lists of samples.

    A list is judged as whole groups: samples of the same prompt (`group_index`, else the prompt itself). Without `--group-rm` a
    list of one `rollout_id` (else `index`) is one rollout that a custom generate function has split. Samples of one rollout share
    its reward: the judge sees the first sample's prompt and the last sample's response. A single rollout is sent with
    `args.n_samples_per_prompt` as the size of its cohort, and waits for the others.

    Optional settings on `args`: `reasrm_token`, `reasrm_timeout_s`, `reasrm_wait_s`, `reasrm_run`, `reasrm_thinking` ("strip" or
    "keep"), `reasrm_options` (fields of POST /v1/rank). With `--reward-key` a reward is an object that holds the number by that
    key. slime takes numbers only: a sample without verdict gets the mean of its group, 0 (the scale's middle) where nobody in it
    was judged, and `remove_sample` takes it out of the loss; `metadata["no_verdict"]` says why. An outage never raises; a wrong
    option, key or address does.
    """
    return await _rewards(args, samples, getattr(args, "n_samples_per_prompt", None))


async def eval_custom_rm(args: Any, samples: Any, **_: Any) -> Any:
    """The same for samples of an evaluation: a cohort has `args.n_samples_per_eval_prompt` samples.

    Where that is 1, a sample is compared with its label, if that is a text; without one it is not judged, and does not wait.
    """
    return await _rewards(args, samples, getattr(args, "n_samples_per_eval_prompt", None) or 1, evaluation=True)


async def _rewards(args: Any, samples: Any, cohort: int | None, *, evaluation: bool = False) -> Any:
    options = GroupOptions.of(getattr(args, "reasrm_options", None))
    if not _is_list(samples):
        return _written(args, [samples], await _lone(args, [samples], options, cohort, evaluation))
    given: list[Any] = list(samples)
    if not getattr(args, "group_rm", True) and _is_one_rollout(given):
        return [_written(args, given, await _lone(args, given, options, cohort, evaluation))] * len(given)
    rollouts: list[list[Any]] = [list(item) if _is_list(item) else [item] for item in given]
    rewarded = await _whole_groups(args, rollouts, options)
    written = [_written(args, rollout, reward) for rollout, reward in zip(rollouts, rewarded, strict=True)]
    return [[reward] * len(item) if _is_list(item) else reward for item, reward in zip(given, written, strict=True)]


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_one_rollout(samples: Sequence[Any]) -> bool:
    """Whether a custom generate function split one rollout into `samples`."""
    names = {getattr(sample, "rollout_id", None) for sample in samples}
    names = names if None not in names else {getattr(sample, "index", None) for sample in samples}
    return len(samples) == 1 or (len(names) == 1 and None not in names)


async def _lone(args: Any, rollout: Sequence[Any], options: GroupOptions, cohort: int | None, evaluation: bool) -> Rewarded:
    """The reward of a rollout whose group arrives in several calls."""
    if cohort is None:
        why = "a sample alone needs args.n_samples_per_prompt: set it, or use --group-rm"
        raise ConfigurationError(why, field="n_samples_per_prompt")
    check_group(cohort, "n_samples_per_prompt")
    question, [response] = _texts(args, [rollout])
    label = rollout[0].label if evaluation and cohort == 1 else None
    fields = {
        "cohort": cohort,
        "run": getattr(args, "reasrm_run", ""),
        "wait_s": getattr(args, "reasrm_wait_s", WAIT_S),
        "reference": label if isinstance(label, str) and label.strip() else None,
    }
    return await ask(lambda connections: reward_rollout(_judge(connections, args), question, response, options, **fields))


async def _whole_groups(args: Any, rollouts: Sequence[Sequence[Any]], options: GroupOptions) -> list[Rewarded]:
    """A reward for each rollout of groups that are complete in this call."""
    groups: dict[Any, list[int]] = {}
    for index, rollout in enumerate(rollouts):
        place = getattr(rollout[0], "group_index", None)
        groups.setdefault(repr(rollout[0].prompt) if place is None else place, []).append(index)
    texts = [_texts(args, [rollouts[index] for index in members]) for members in groups.values()]

    async def work(connections: GatewayConnections) -> list[list[Rewarded]]:
        judge = _judge(connections, args)
        return await asyncio.gather(*(rank_group(judge, question, responses, options) for question, responses in texts))

    by_index: dict[int, Rewarded] = {}
    for members, rewards in zip(groups.values(), await ask(work), strict=True):
        by_index |= dict(zip(members, rewards, strict=True))
    return [by_index[index] for index in range(len(rollouts))]


def _judge(connections: GatewayConnections, args: Any) -> Judge:
    return connections.judge(args.rm_url, getattr(args, "reasrm_token", None), getattr(args, "reasrm_timeout_s", TIMEOUT_S))


def _texts(args: Any, rollouts: Sequence[Sequence[Any]]) -> tuple[Any, list[Any]]:
    thinking: Thinking = getattr(args, "reasrm_thinking", "strip")
    if thinking not in ("strip", "keep"):
        raise ConfigurationError(f'reasrm_thinking must be "strip" or "keep", not {thinking!r}', field="reasrm_thinking")
    question, begun, _ = prompt_of(rollouts[0][0].prompt)
    return question, [response_of(rollout[-1].response, begun, thinking=thinking, special_tokens=True) for rollout in rollouts]


def _written(args: Any, rollout: Sequence[Any], rewarded: Rewarded) -> Any:
    """The reward in the form that slime reads. Marks samples without a verdict with the reason."""
    value = rewarded.reward if rewarded.reward is not None else rewarded.mean or 0.0
    if rewarded.reward is None:
        for sample in rollout:
            sample.remove_sample = True
            sample.metadata = {**(getattr(sample, "metadata", None) or {}), "no_verdict": rewarded.no_verdict}
    keys = {name for name in (getattr(args, "reward_key", None), getattr(args, "eval_reward_key", None)) if name}
    if not keys:
        return value
    return dict.fromkeys(keys, value) | {"no_verdict": rewarded.no_verdict, "stderr": rewarded.stderr}
