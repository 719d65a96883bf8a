"""Verdicts of one token through a gateway on a real SGLang: a glance, and a forced verdict.

The judge of the generated world never learnt to answer at once, so these tests look at what is asked and counted, not at who wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.components import Gateway, Sglang

PAIR = {"question": "Which is larger: 31 or 78?", "a": "The larger one is 78.", "b": "The larger one is 31."}


@pytest.fixture(scope="module")
def world_gateway(gateway_factory: Callable[..., Gateway], sglang: Sglang) -> Iterator[Gateway]:
    gateway = gateway_factory("--engine", sglang.url, "--prompts", "world")
    yield gateway
    gateway.stop()


def judged(gateway: Gateway, **more: Any) -> dict[str, Any]:
    response = httpx.post(f"{gateway.url}/v1/judge", json=PAIR | more, timeout=60)
    assert response.status_code == 200, response.text
    return response.json()


def test_a_glance_costs_one_token_per_order(world_gateway: Gateway) -> None:
    judgment = judged(world_gateway, reasoning="off")
    assert judgment["usage"]["completion_tokens"] == 2
    assert {opinion["reply"][:10] for opinion in judgment["opinions"]} == {"<answer>[["}


def test_a_glance_and_a_reasoned_judgment_are_cached_apart(world_gateway: Gateway) -> None:
    again = [judged(world_gateway, reasoning=how, seed=7)["cached"] for how in ("off", "on", "off", "on")]
    assert again == [False, False, True, True]


def test_a_reply_that_is_cut_off_is_continued_for_one_token(world_gateway: Gateway) -> None:
    forced = judged(world_gateway, max_tokens=3)
    assert forced["usage"]["completion_tokens"] == 8, "three tokens per order, and the letter of each"
    assert forced["usage"]["requests"] == 4
    unforced = judged(world_gateway, max_tokens=3, forced=False)
    assert unforced["usage"]["completion_tokens"] == 6
    assert unforced["outcome"]["reason"] == "truncated"


def test_rankings_and_rewards_of_frameworks_can_be_glances_too(world_gateway: Gateway) -> None:
    group = {"question": PAIR["question"], "responses": [PAIR["a"], PAIR["b"], "It is 12."], "reasoning": "off"}
    ranking = httpx.post(f"{world_gateway.url}/v1/rank", json=group, timeout=60).json()
    opinions = [opinion for comparison in ranking["comparisons"] for opinion in comparison["judgment"]["opinions"]]
    assert {opinion["usage"]["completion_tokens"] for opinion in opinions} == {1}
    rollouts = {"query": [f"{PAIR['question']}\n{text}" for text in (PAIR["a"], PAIR["b"])], "prompts": [PAIR["question"]] * 2}
    rewards = httpx.post(f"{world_gateway.url}/get_reward?reasoning=off", json=rollouts, timeout=60)
    assert rewards.status_code == 200, rewards.text
    assert len(rewards.json()["rewards"]) == 2
