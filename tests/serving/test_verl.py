"""verl's reward loop with `compute_score`, against a real gateway."""

from __future__ import annotations

import time
from typing import Any

import pytest

from reasrm.errors import ConfigurationError
from reasrm.rewards.verl import compute_score
from tests.serving.clients import VerlRewardLoop
from tests.serving.loops import ScriptedEngine

STRENGTHS = [2, 5, 1, 3]


def verl_items(answers: list[Any], **info: Any) -> list[dict[str, Any]]:
    """A batch as the reward loop gets it."""
    shared = {"data_source": "openai/gsm8k", "reward_model": {"style": "rule", "ground_truth": "answer 9"}, "__num_turns__": 2}
    extra = {"split": "train", "index": 7, "question": "Which?"} | info
    return [shared | {"response": f"answer {answer}", "extra_info": dict(extra)} for answer in answers]


async def test_verl_scores_a_batch_with_its_settings_in_reward_kwargs(url: str) -> None:
    loop = VerlRewardLoop(compute_score, {"url": url, "cohort": 4, "run": "r", "wait_s": 20})
    scores, extras = await loop.compute_rm_score(verl_items(STRENGTHS))
    assert scores.argsort().tolist() == [2, 0, 3, 1]
    assert extras["judged"].tolist() == [1.0] * 4
    assert extras["score"] == pytest.approx(scores)
    again, _ = await loop.compute_rm_score(verl_items(STRENGTHS), strict_box_verify=True)  # as the dapo manager asks
    assert again == pytest.approx(scores)


async def test_verl_finds_the_gateway_where_its_router_would_be(url: str) -> None:
    loop = VerlRewardLoop(compute_score, {"cohort": 4, "wait_s": 20, "reference": True}, router=url.removeprefix("http://"))
    scores, _ = await loop.compute_rm_score(verl_items(STRENGTHS, global_step=3))
    assert scores.argsort().tolist() == [2, 0, 3, 1]
    assert scores.max() < 0, "measured from the ground truth"


async def test_a_rollout_without_verdict_has_the_same_keys_in_verl_as_the_others(url: str) -> None:
    loop = VerlRewardLoop(compute_score, {"url": url, "cohort": 4, "wait_s": 20})
    items = verl_items([2, 2, 2, 2])  # nothing to compare
    scores, extras = await loop.compute_rm_score(items)
    assert scores.tolist() == [0.0] * 4
    assert extras["judged"].tolist() == [0.0] * 4


async def test_validation_waits_for_no_cohort(url: str, caplog: pytest.LogCaptureFixture) -> None:
    started = time.monotonic()
    loop = VerlRewardLoop(compute_score, {"url": url, "cohort": 4})
    scores, extras = await loop.compute_rm_score(verl_items([1, 2], split="test"))
    assert (scores.tolist(), extras["judged"].tolist()) == ([0.0, 0.0], [0.0, 0.0])
    assert "split='test' count as validation" in caplog.text
    measured = VerlRewardLoop(compute_score, {"url": url, "cohort": 4, "reference": True})
    scores, extras = await measured.compute_rm_score(verl_items([1, 12], split="val"))
    assert scores[0] < 0 < scores[1] and extras["judged"].tolist() == [1.0, 1.0]
    assert time.monotonic() - started < 20


async def test_the_rate_limited_manager_works_with_room_for_a_cohort(url: str) -> None:
    loop = VerlRewardLoop(compute_score, {"url": url, "cohort": 4, "wait_s": 20})
    results = await loop.limited(verl_items(STRENGTHS), max_concurrent=4)
    scores = [result["reward_score"] for result in results]
    assert sorted(range(4), key=lambda i: scores[i]) == [2, 0, 3, 1]


async def test_options_and_thoughts_are_settings_of_verls_function_too(url: str, engine: ScriptedEngine) -> None:
    settings = {"url": url, "cohort": 2, "wait_s": 20, "options": {"rubric": "1. Larger is better"}, "thinking": "keep"}
    items = [item | {"response": f"<think>My thought.</think>answer {i}"} for i, item in enumerate(verl_items([1, 2]))]
    scores, _ = await VerlRewardLoop(compute_score, settings).compute_rm_score(items)
    assert scores[0] < scores[1]
    assert [text for text in engine.conversations if "1. Larger is better" not in text or "My thought." not in text] == []
    with pytest.raises(ConfigurationError, match="methd"):
        await VerlRewardLoop(compute_score, settings | {"options": {"methd": "swiss"}}).compute_rm_score(items)
