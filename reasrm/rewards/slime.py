"""A group reward for slime: `--group-rm --custom-rm-path reasrm.rewards.slime.batched_custom_rm --rm-url http://gateway:8900`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from reasrm.errors import ConfigurationError, GatewayError, InputError
from reasrm.rewards.rollouts import judge_at, question_of, response_of

TIMEOUT_S = 300.0


async def batched_custom_rm(args: Any, samples: Sequence[Any], **_: Any) -> list[float]:
    """One reward a sample. Samples of the same prompt (`group_index`, else the prompt itself) are one group.

    Optional settings on `args`: `reasrm_token`, `reasrm_timeout_s`, `reasrm_options` (the fields of POST /v1/rank). slime takes
    numbers only: a sample without verdict gets the mean of its group, 0 (the scale's middle) where nobody in it was judged, and is
    taken out of the loss by `remove_sample`; `metadata["no_verdict"]` says why.
    """
    groups: dict[Any, list[int]] = {}
    for index, sample in enumerate(samples):
        place = getattr(sample, "group_index", None)
        groups.setdefault(repr(sample.prompt) if place is None else place, []).append(index)
    judged = await asyncio.gather(*(_group(args, [samples[index] for index in members]) for members in groups.values()))
    rewards = {
        index: reward
        for members, got in zip(groups.values(), judged, strict=True)
        for index, reward in zip(members, got, strict=True)
    }
    return [rewards[index] for index in range(len(samples))]


async def _group(args: Any, samples: Sequence[Any]) -> list[float]:
    judge = judge_at(args.rm_url, getattr(args, "reasrm_token", None), getattr(args, "reasrm_timeout_s", TIMEOUT_S))
    options: dict[str, Any] = getattr(args, "reasrm_options", None) or {}
    responses = [response_of(sample.response) for sample in samples]
    found: list[float | None] = [None] * len(samples)
    try:
        fields: dict[str, Any] = {"replies": False, **options}
        ranking = await judge.rank(question_of(samples[0].prompt), responses, **fields)
        found, why = ranking.rewards, "no verdict"
    except ConfigurationError:
        raise
    except (GatewayError, InputError) as error:
        why = str(error)
    known = [reward for reward in found if reward is not None]
    mean = sum(known) / len(known) if known else 0.0
    for sample, reward in zip(samples, found, strict=True):
        if reward is None:
            sample.remove_sample = True
            sample.metadata = {**(getattr(sample, "metadata", None) or {}), "no_verdict": why}
    return [mean if reward is None else reward for reward in found]
