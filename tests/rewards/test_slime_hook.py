"""The reward functions that slime loads, called as slime calls them."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from reasrm.errors import ConfigurationError
from reasrm.rewards.slime import batched_custom_rm, eval_custom_rm
from tests.serving.loops import ScriptedEngine

STRENGTHS = [2, 5, 1, 3]


def sample(response: str, group: int = 0, **more: Any) -> SimpleNamespace:
    """A sample with the attributes of slime's `Sample` that a reward function may read."""
    fields = {"prompt": "q", "label": None, "group_index": group, "metadata": {}, "remove_sample": False, "rollout_id": None}
    return SimpleNamespace(**fields | {"response": response} | more)


def arguments(url: str, **more: Any) -> SimpleNamespace:
    """slime's arguments, as far as they matter here."""
    fields = {"rm_url": url, "group_rm": False, "reward_key": None, "eval_reward_key": None, "n_samples_per_prompt": 4}
    return SimpleNamespace(**fields | {"n_samples_per_eval_prompt": 1} | more)


async def test_a_list_is_judged_as_whole_groups(url: str) -> None:
    samples = [sample(f"answer {strength}", group) for group in (0, 1) for strength in STRENGTHS]
    rewards = await batched_custom_rm(arguments(url, group_rm=True), samples)
    assert [sorted(range(4), key=lambda i: part[i]) for part in (rewards[:4], rewards[4:])] == [[2, 0, 3, 1]] * 2
    assert not any(member.remove_sample for member in samples)


async def test_one_sample_at_a_time_waits_for_its_prompts_others(url: str) -> None:
    samples = [sample(f"answer {strength}") for strength in STRENGTHS]
    rewards = await asyncio.gather(*(batched_custom_rm(arguments(url), member) for member in samples))
    assert sorted(range(4), key=lambda i: rewards[i]) == [2, 0, 3, 1]


async def test_more_samples_than_slimes_own_connections_all_get_rewards(url: str) -> None:
    samples = [sample(f"answer {number} of {i}", i, prompt=f"q{i}") for number in (1, 2) for i in range(60)]
    rewards = await asyncio.gather(*(batched_custom_rm(arguments(url, n_samples_per_prompt=2), member) for member in samples))
    assert all(reward < 0 for reward in rewards[:60]) and all(reward > 0 for reward in rewards[60:])


async def test_a_rollout_that_was_split_shares_one_reward(url: str, engine: ScriptedEngine) -> None:
    split = [[sample("look"), sample(f"answer {strength}")] for strength in STRENGTHS]
    rewards = await batched_custom_rm(arguments(url, group_rm=True), split)
    assert [pair[0] for pair in rewards] == [pair[1] for pair in rewards]
    assert sorted(range(4), key=lambda i: rewards[i][0]) == [2, 0, 3, 1]
    siblings = [[sample("look", rollout_id=i), sample(f"answer {strength}", rollout_id=i)] for i, strength in enumerate(STRENGTHS)]
    lone = await asyncio.gather(*(batched_custom_rm(arguments(url), pieces) for pieces in siblings))
    assert lone == rewards
    assert not [text for text in engine.texts if "look" in text]


async def test_a_sample_without_verdict_says_why(url: str) -> None:
    equal = [sample("answer 1"), sample("answer 1")]
    assert await batched_custom_rm(arguments(url, group_rm=True), equal) == [0.0, 0.0]
    assert [member.metadata["no_verdict"] for member in equal] == ["alone"] * 2
    assert all(member.remove_sample for member in equal)
    long = [sample("answer 1"), sample("answer 2" + " long" * 100_000)]
    await batched_custom_rm(arguments(url, group_rm=True), long)
    assert "too" in long[0].metadata["no_verdict"]
    away = [sample("answer 1"), sample("answer 2")]
    await batched_custom_rm(arguments("http://127.0.0.1:9", group_rm=True, reasrm_timeout_s=1), away)
    assert "no gateway answers" in away[0].metadata["no_verdict"]


async def test_a_reward_key_makes_rewards_objects(url: str) -> None:
    samples = [sample(f"answer {strength}") for strength in STRENGTHS]
    rewards = await batched_custom_rm(arguments(url, group_rm=True, reward_key="score"), samples)
    assert sorted(range(4), key=lambda i: rewards[i]["score"]) == [2, 0, 3, 1]
    assert rewards[0]["no_verdict"] is None


async def test_a_rendered_prompt_and_thoughts_are_read_as_the_route_reads_them(url: str, engine: ScriptedEngine) -> None:
    prompt = "<|im_start|>user\nWhich one?<|im_end|>\n<|im_start|>assistant\n<think>\n"
    samples = [sample(f"My thought.</think>\n\nanswer {strength}<|im_end|>", prompt=prompt) for strength in STRENGTHS]
    await batched_custom_rm(arguments(url, group_rm=True), samples)
    assert engine.texts
    assert all("Which one?" in text and "im_start" not in text and "My thought." not in text for text in engine.texts)


async def test_an_evaluation_waits_for_no_cohort_and_measures_from_its_label(url: str) -> None:
    started = time.monotonic()
    lone = sample("answer 1")
    assert await eval_custom_rm(arguments(url), lone) == 0.0
    assert lone.metadata["no_verdict"] == "alone"
    assert await eval_custom_rm(arguments(url), sample("answer 4", label="answer 1")) > 0
    assert time.monotonic() - started < 10
    two = [eval_custom_rm(arguments(url, n_samples_per_eval_prompt=2), sample(f"answer {number}")) for number in (1, 2)]
    first, second = await asyncio.gather(*two)
    assert first < 0 < second


@pytest.mark.parametrize(
    "wrong",
    [
        {"reasrm_options": {"methd": "circle"}},
        {"reasrm_thinking": "no"},
        {"n_samples_per_prompt": None},
        {"n_samples_per_prompt": 65},
    ],
)
async def test_a_mistake_in_the_settings_raises(url: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        await batched_custom_rm(arguments(url, **wrong), sample("answer 1"))
