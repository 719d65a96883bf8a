"""The requests of NeMo Gym's genrm_compare, against a real gateway."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.serving.clients import responses_object
from tests.serving.loops import ScriptedEngine

STRENGTHS = [2, 5, 1, 3]


def test_nemo_gym_compares_a_cohort_at_once(url: str) -> None:
    history = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "Which?"}]},
    ]
    body = {"conversation_history": history, "response_objs": [responses_object(f"answer {strength}") for strength in STRENGTHS]}
    result = httpx.post(f"{url}/compare", json=body | {"principle": "1. larger is better"}).json()
    assert sorted(range(4), key=lambda i: result["rewards"][i]) == [2, 0, 3, 1]
    assert set(result["comparison_results"][0]) == {"response_i", "response_j", "judge_idx", "score_1", "score_2", "ranking"}
    for comparison in result["comparison_results"]:
        first_wins = STRENGTHS[comparison["response_i"]] > STRENGTHS[comparison["response_j"]]
        assert (comparison["score_1"] > comparison["score_2"]) == first_wins == (comparison["ranking"] < 3.5)
        assert 1 <= comparison["ranking"] <= 6
    assert result["metrics"]["no_verdict"] == 0


async def test_nemo_gym_verifies_one_rollout_at_a_time_and_a_lost_one_hangs_nobody(url: str) -> None:
    async with httpx.AsyncClient(timeout=30) as client:

        async def verify(strength: int) -> dict[str, Any]:
            body = {
                "responses_create_params": {"input": "Which?", "temperature": 1},
                "response": responses_object(f"answer {strength}"),
            }
            return (await client.post(f"{url}/verify?cohort=4&wait=1", json=body)).json()

        results = await asyncio.gather(*(verify(strength) for strength in STRENGTHS[:3]))
    assert results[1]["reward"] > results[0]["reward"] > results[2]["reward"]
    assert results[0]["responses_create_params"]["temperature"] == 1


def test_nemo_gym_histories_may_hold_calls_of_functions(url: str, engine: ScriptedEngine) -> None:
    history = [
        {"role": "user", "content": "Which?"},
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "1", "name": "look", "arguments": '{"at": "it"}'},
        {"type": "function_call_output", "call_id": "1", "output": "seen"},
    ]
    body = {"conversation_history": history, "response_objs": [responses_object("answer 1"), responses_object("answer 2")]}
    result = httpx.post(f"{url}/compare", json=body).json()
    assert result["rewards"][0] < result["rewards"][1]
    assert all(text in engine.texts[-1] for text in ("Which?", "look", '{"at": "it"}', "seen"))


@pytest.mark.parametrize(
    ("path", "change", "field"),
    [
        ("compare", {"conversation_history": [{"role": "user", "content": [7]}]}, "conversation_history"),
        ("compare", {"conversation_history": [{"type": "function_call"}]}, "conversation_history"),
        ("compare", {"response_objs": [{"output": ["text"]}]}, "response_objs.0.output"),
        ("compare", {"response_objs": [{"output": "text"}]}, "response_objs.0.output"),
        ("compare", {"response_objs": [{}]}, "response_objs.0.output"),
        ("verify?cohort=2", {"responses_create_params": {"input": [7]}}, "responses_create_params.input"),
        ("verify?cohort=2", {"responses_create_params": {}}, "responses_create_params.input"),
        ("verify?cohort=2", {"response": {"output": None}}, "response.output"),
    ],
)
def test_nemo_gym_bad_input_gets_a_message_that_says_what_is_wrong(url: str, path: str, change: dict[str, Any], field: str) -> None:
    one = responses_object("answer 1")
    compare = {"conversation_history": [{"role": "user", "content": "Which?"}], "response_objs": [one]}
    verify = {"responses_create_params": {"input": "Which?"}, "response": one}
    answer = httpx.post(f"{url}/{path}", json=(compare if path == "compare" else verify) | change)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, field), answer.text
