"""What RL frameworks send and read, reproduced: their payloads, timeouts and retries, against a real gateway."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from reasrm_serving.contracts.templates import plain, question_of

from tests.serving.loops import ScriptedEngine, gateway, serving

STRENGTHS = [2, 5, 1, 3]
CHATML = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhich is largest?<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    scripted = ScriptedEngine()
    with serving(scripted.app) as scripted.url:
        yield scripted


@pytest.fixture
def url(engine: ScriptedEngine, tmp_path: Path) -> Iterator[str]:
    with gateway(engine, tmp_path) as address:
        yield address


# --- OpenRLHF -------------------------------------------------------------------------------------------------------------


def openrlhf_request(url: str, data: dict[str, Any], try_max_times: int = 5) -> dict[str, Any]:
    """As OpenRLHF's client asks: 180 s, five times a second apart, any HTTP error is a reason to try again."""
    for _ in range(try_max_times):
        try:
            response = httpx.post(url, json=data, headers={"Content-Type": "application/json"}, timeout=180)
            response.raise_for_status()
            return response.json()
        except httpx.HTTPError:
            time.sleep(1)
    raise RuntimeError(f"Request error for {try_max_times} times, returning None. Please check the API server.")


def openrlhf(url: str, answers: list[Any], query: str = "?cohort=4", prompt: str = CHATML) -> list[dict[str, Any]]:
    """One query a request, from one actor each."""

    def one(answer: Any) -> dict[str, Any]:
        data = {"query": [f"{prompt}answer {answer}<|im_end|>\n"], "prompts": [prompt], "labels": [None]}
        return openrlhf_request(f"{url}/get_reward{query}", data)

    with ThreadPoolExecutor(len(answers)) as pool:
        return list(pool.map(one, answers))


def test_openrlhf_gets_group_rewards_for_single_rollouts(url: str) -> None:
    got = openrlhf(url, STRENGTHS)
    rewards = [reward for each in got for reward in each["rewards"]]
    assert sorted(range(4), key=lambda i: rewards[i]) == [2, 0, 3, 1]
    assert all(0 <= score <= 1 for each in got for score in each["scores"])
    assert all(each["extra_logs"]["no_verdict"] == [0.0] for each in got)
    assert all(isinstance(value, float) for each in got for values in each["extra_logs"].values() for value in values)


def test_openrlhf_gets_empty_lists_for_empty_lists(url: str) -> None:
    got = openrlhf_request(f"{url}/get_reward?cohort=8", {"query": [], "prompts": [], "labels": []})
    assert got["rewards"] == got["scores"] == []


def test_openrlhf_may_send_a_whole_group_in_one_request(url: str, engine: ScriptedEngine) -> None:
    data = {
        "query": [f"Q{i // 2} answer {each}" for i, each in enumerate(STRENGTHS)],
        "prompts": [f"Q{i // 2}" for i in range(4)],
        "labels": [{"any": 1}, None, 3.5, "x"],
    }
    got = openrlhf_request(f"{url}/get_reward", data)
    assert got["rewards"][1] > 0 > got["rewards"][0]
    assert got["rewards"][3] > 0 > got["rewards"][2]
    assert engine.asked == 4  # two pairs, both ways round; never across prompts


def test_a_lone_rollout_without_cohort_or_reference_is_told_what_to_add(url: str) -> None:
    answer = httpx.post(f"{url}/get_reward", json={"query": ["Q answer 1"], "prompts": ["Q"], "labels": [None]})
    assert answer.status_code == 422
    assert "?cohort=N" in answer.json()["error"]["message"]


def test_an_engine_that_comes_back_between_two_tries_costs_no_reward(url: str, engine: ScriptedEngine, tmp_path: Path) -> None:
    with gateway(engine, tmp_path) as elsewhere:
        quiet = [each["rewards"] for each in openrlhf(elsewhere, STRENGTHS)]
    httpx.get(f"{url}/v1/models")
    engine.down = True
    with ThreadPoolExecutor(1) as pool:
        loud = pool.submit(openrlhf, url, STRENGTHS, "?cohort=4&timeout=3&wait=1")
        time.sleep(5)
        engine.down = False
        assert [each["rewards"] for each in loud.result(60)] == quiet


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"query": ["a"], "prompts": []}, None),
        ({"query": ["b answer"], "prompts": ["a"], "labels": []}, "query"),
        ({"query": ["<|im_end|>answer"], "prompts": ["<|im_end|>"]}, "prompts.0"),
        ({"query": "a", "prompts": ["a"]}, "query"),
    ],
)
def test_openrlhf_bad_input_is_told_what_is_wrong(url: str, body: dict, field: str | None) -> None:
    answer = httpx.post(f"{url}/get_reward?cohort=2", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == field


def test_an_empty_rollout_is_judged_like_any_other(url: str) -> None:
    data = {"query": ["Q", "Qanswer 1"], "prompts": ["Q", "Q"], "labels": []}
    rewards = httpx.post(f"{url}/get_reward", json=data).json()["rewards"]
    assert rewards[0] < 0 < rewards[1]


# --- slime ------------------------------------------------------------------------------------------------------------------


async def slime_request(client: httpx.AsyncClient, url: str, payload: dict[str, Any], max_retries: int = 10) -> Any:
    """As slime's client asks: 120 s, 64 connections, ten tries with growing pauses; then the exception ends the job."""
    for attempt in range(max_retries):
        try:
            response = await client.post(url, json=payload)
            response.raise_for_status()
            return response.json()
        except (httpx.HTTPError, ValueError):
            if attempt + 1 == max_retries:
                raise
            await asyncio.sleep(min(2**attempt, 30) + 0.1)
    return None


async def test_slime_reads_a_number_or_the_key_it_names(url: str) -> None:
    async with httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=64)) as client:
        payloads = [{"prompt": CHATML, "response": f"answer {each}<|im_end|>", "label": {"x": [1]}} for each in STRENGTHS]
        plain_numbers = await asyncio.gather(*(slime_request(client, f"{url}/remote_rm?cohort=4", each) for each in payloads))
        messages = [each | {"prompt": [{"role": "user", "content": "Which is largest?"}]} for each in payloads]
        keyed = await asyncio.gather(*(slime_request(client, f"{url}/remote_rm?cohort=4&key=score", each) for each in messages))
    assert all(isinstance(each, float) for each in plain_numbers)
    assert [each["score"] for each in keyed] == pytest.approx(plain_numbers)


async def test_null_mean_and_error_are_what_no_verdict_becomes(url: str) -> None:
    async with httpx.AsyncClient(timeout=30) as client:

        async def lone(how: str) -> httpx.Response:
            body = {"prompt": f"alone {how}", "response": "answer 1"}
            return await client.post(f"{url}/remote_rm?cohort=2&wait=0.2&no_verdict={how}", json=body)

        null, mean, error = await asyncio.gather(lone("null"), lone("mean"), lone("error"))
    assert null.json() is None
    assert mean.json() == 0.0
    assert error.status_code == 503
    assert error.json()["error"]["reason"] == "alone"


@pytest.mark.parametrize(
    ("query", "field"), [("cohort=0", "cohort"), ("cohorts=8", "cohorts"), ("cohort=2&no_verdict=zero", "no_verdict")]
)
def test_a_mistyped_wish_is_an_error_and_not_ignored(url: str, query: str, field: str) -> None:
    answer = httpx.post(f"{url}/remote_rm?{query}", json={"prompt": "q", "response": "r"})
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == field


def test_a_deadline_that_has_passed_starts_nothing(url: str, engine: ScriptedEngine) -> None:
    late = {"x-deadline": str(time.time() - 1), "x-cohort": "1"}
    answer = httpx.post(f"{url}/remote_rm", json={"prompt": "q", "response": "answer 1"}, headers=late)
    assert answer.status_code == 504
    assert engine.asked == 0


# --- NeMo Gym ---------------------------------------------------------------------------------------------------------------


def responses_object(text: str) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "answer 99"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text, "annotations": []}]},
        ],
    }


def test_nemo_gym_compares_a_cohort_at_once(url: str) -> None:
    history = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "Which?"}]},
    ]
    body = {"conversation_history": history, "response_objs": [responses_object(f"answer {each}") for each in STRENGTHS]}
    got = httpx.post(f"{url}/compare", json=body | {"principle": "1. larger is better"}).json()
    assert sorted(range(4), key=lambda i: got["rewards"][i]) == [2, 0, 3, 1]
    assert set(got["comparison_results"][0]) == {"response_i", "response_j", "judge_idx", "score_1", "score_2", "ranking"}
    for each in got["comparison_results"]:
        first_wins = STRENGTHS[each["response_i"]] > STRENGTHS[each["response_j"]]
        assert (each["score_1"] > each["score_2"]) == first_wins == (each["ranking"] < 3.5)
        assert 1 <= each["ranking"] <= 6
    assert got["metrics"]["no_verdict"] == 0


async def test_nemo_gym_verifies_one_rollout_at_a_time_and_a_lost_one_hangs_nobody(url: str) -> None:
    async with httpx.AsyncClient(timeout=30) as client:

        async def verify(each: int) -> dict[str, Any]:
            asked = {
                "responses_create_params": {"input": "Which?", "temperature": 1},
                "response": responses_object(f"answer {each}"),
            }
            return (await client.post(f"{url}/verify?cohort=4&wait=1", json=asked)).json()

        got = await asyncio.gather(*(verify(each) for each in STRENGTHS[:3]))
    assert got[1]["reward"] > got[0]["reward"] > got[2]["reward"]
    assert got[0]["responses_create_params"]["temperature"] == 1


# --- prompts ----------------------------------------------------------------------------------------------------------------


def test_rendered_prompts_are_taken_apart_and_no_special_token_is_left() -> None:
    assert question_of(CHATML) == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which is largest?"}]
    llama = (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert question_of(llama) == [{"role": "user", "content": "Hi"}]
    gemma = (
        "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHo<end_of_turn>\n<start_of_turn>user\nAnd?<end_of_turn>\n"
    )
    assert [turn["role"] for turn in question_of(gemma)] == ["user", "assistant", "user"]
    assert question_of("plain <|im_end|> text</s>") == "plain  text"
    assert plain("a < b and <em>tags</em> stay<|endoftext|>") == "a < b and <em>tags</em> stay"
