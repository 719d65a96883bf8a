"""verl's reward loop with `compute_score`, against a real gateway."""

from __future__ import annotations

from typing import Any

import pytest

from reasrm.rewards.verl import compute_score
from tests.serving.clients import VerlRewardLoop

STRENGTHS = [2, 5, 1, 3]


def verl_items(answers: list[Any], **info: Any) -> list[dict[str, Any]]:
    """A batch as the reward loop gets it."""
    shared = {"data_source": "openai/gsm8k", "reward_model": {"style": "rule", "ground_truth": "answer 9"}, "__num_turns__": 2}
    extra = {"split": "train", "index": 7, "question": "Which?"} | info
    return [shared | {"response": f"answer {each}", "extra_info": dict(extra)} for each in answers]


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
