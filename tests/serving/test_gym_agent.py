"""NeMo Gym's stock agent, and its GenRM client, with the gateway behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving.clients import GymAgent, genrm_comparison, responses_object
from tests.serving.loops import ScriptedEngine, gateway

STRENGTHS = [2, 5, 1, 3]


@pytest.fixture
def gym(engine: ScriptedEngine, tmp_path: Path) -> Iterator[str]:
    """A gateway whose operator has set the number of rollouts per prompt."""
    with gateway(engine, tmp_path, cohort=4) as address:
        yield address


def row(question: str = "Which?", **more: Any) -> dict[str, Any]:
    """A task's row as an agent gets it."""
    return {"responses_create_params": {"input": [{"role": "user", "content": question}]}} | more


async def rewards(agent: GymAgent, rows: list[dict[str, Any]], answers: list[Any]) -> list[float]:
    results = await asyncio.gather(*(agent.run(task, f"answer {answer}") for task, answer in zip(rows, answers, strict=True)))
    return [result["reward"] for result in results]


@pytest.mark.parametrize("rollout_id", [None, "3-0"], ids=["plain", "observed"])
async def test_the_stock_agent_runs_whole_rollouts(gym: str, rollout_id: str | None) -> None:
    agent = GymAgent(gym, rollout_id)
    values = await rewards(agent, [row(verifier_metadata={"a": 1}) for _ in STRENGTHS], STRENGTHS)
    assert sorted(range(4), key=lambda i: values[i]) == [2, 0, 3, 1]
    sent = [{"_ng_task_index": i % 2, "_ng_rollout_index": i, "reward": reward} for i, reward in enumerate(values)]
    metrics = await agent.post("/aggregate_metrics", {"verify_responses": sent})
    assert metrics["agent_metrics"]["mean/reward"] == pytest.approx(sum(values) / 4)
    assert metrics["key_metrics"] == {"mean/reward": metrics["agent_metrics"]["mean/reward"]}
    assert [group["max/reward"] for group in metrics["group_level_metrics"]] == [max(values[::2]), max(values[1::2])]
    assert httpx.get(f"{gym}{agent.prefix}/reverify_mode").json() == "unsupported"


async def test_groups_of_one_text_are_told_apart(engine: ScriptedEngine, tmp_path: Path) -> None:
    rows = [row(_ng_group_id=f"g{i % 2}", _ng_group_attempt=0, _ng_rollout_index=i // 2) for i in range(4)]
    with gateway(engine, tmp_path, cohort=2) as url:
        agent = GymAgent(url)
        values = await rewards(agent, rows, [1, 8, 2, 9])
        again = await rewards(agent, [task | {"_ng_group_attempt": 1} for task in rows], [2, 8, 1, 9])
        tasks = await rewards(agent, [row(_ng_task_index=i % 2) for i in range(4)], [1, 8, 2, 9])
    assert values[0] < 0 < values[2], "within its own group"
    assert values[1] < 0 < values[3]
    assert again[0] > 0 > again[2], "another attempt is another group"
    assert tasks == pytest.approx(values)


async def test_a_retried_rollout_gets_its_own_reward_again(engine: ScriptedEngine, tmp_path: Path) -> None:
    rows = [row(_ng_group_id="g", _ng_rollout_index=i) for i in range(2)]
    with gateway(engine, tmp_path, cohort=2) as url:
        agent = GymAgent(url)
        first = await rewards(agent, rows, [1, 2])
        judged = engine.calls
        assert await rewards(agent, rows[:1], [1]) == first[:1]
        assert engine.calls == judged


async def test_a_principle_decides_and_keeps_groups_apart(gym: str, engine: ScriptedEngine) -> None:
    agent = GymAgent(gym)
    by_length, by_truth = "1. Shorter is better (100%)", "1. True is better (100%)"
    rows = [row(principle=principle) for principle in (by_length, by_truth) for _ in STRENGTHS]
    await rewards(agent, rows, STRENGTHS * 2)
    principles = {(by_length in text, by_truth in text) for text in engine.conversations}
    assert principles == {(True, False), (False, True)}


async def test_instructions_are_part_of_the_question(gym: str, engine: ScriptedEngine) -> None:
    one = row()
    one["responses_create_params"]["instructions"] = "Answer like a pirate."
    await rewards(GymAgent(gym), [one] * 4, STRENGTHS)
    assert all("Answer like a pirate." in text for text in engine.conversations)


async def test_a_rollout_without_verdict_is_a_failure_row_and_no_error(engine: ScriptedEngine, tmp_path: Path) -> None:
    with gateway(engine, tmp_path, cohort=2, timeout_s=2.0) as url:
        agent = GymAgent(url)
        lone = await agent.run(row(instance_config={"kept": 1}), "answer 1")
        judged = await asyncio.gather(*(agent.run(row("Both?"), f"answer {number}") for number in (1, 2)))
        engine.down = True
        away = await asyncio.gather(*(agent.run(row("Away?"), f"answer {number}") for number in (1, 2)))
    assert (lone["_ng_failure_class"], lone["_ng_failure_judge_error"], lone["mask_sample"]) == ("judge_failed", "alone", True)
    assert lone["instance_config"] == {"kept": 1, "mask_sample": True}
    assert not any("_ng_failure_class" in result or "mask_sample" in result for result in judged)
    assert all(result["_ng_failure_class"] == "judge_failed" and result["instance_config"]["mask_sample"] for result in away)


async def test_genrm_compare_may_use_the_gateway_as_its_model(url: str, engine: ScriptedEngine) -> None:
    first, second, ranking = await genrm_comparison(url, "Which?", "answer 5", "answer 1", "1. Larger is better")
    assert 1 <= second < first <= 5
    assert 1 <= ranking < 3.5
    assert "1. Larger is better" in engine.conversations[-1]
    swapped = await genrm_comparison(url, "Which?", "answer 1", "answer 5")
    assert swapped[0] < swapped[1] and 3.5 < swapped[2] <= 6
    equal = await genrm_comparison(url, "Which?", "answer 1", "answer 1")
    assert 1 <= equal[0] <= 5


def test_responses_without_a_pair_get_a_message_that_says_what_to_send(url: str) -> None:
    answer = httpx.post(f"{url}/v1/responses", json={"input": "Hi", "model": "any"})
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "metadata")
    chat = httpx.post(f"{url}/v1/chat/completions", json={"messages": []})
    assert chat.status_code == 404
    assert "/v1/judge" in chat.json()["error"]["message"]


def test_llama_factorys_reward_api_is_told_what_to_use(url: str) -> None:
    body = {"model": "judge", "messages": ["<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nanswer 1<|im_end|>\n"]}
    answer = httpx.post(f"{url}/v1/score/evaluation", json=body)
    assert answer.status_code == 501
    error = answer.json()["error"]
    assert (error["type"], error["field"]) == ("no_absolute_score", None)
    assert "something to compare with" in error["message"] and "reasrm score" in error["message"]


def test_a_cohort_in_the_address_goes_before_the_operators(gym: str) -> None:
    body = row() | {"response": responses_object("answer 1")}
    lone = httpx.post(f"{gym}/verify?cohort=1", json=body, timeout=20).json()
    assert (lone["no_verdict"], lone["reward"]) == ("alone", 0.0)
