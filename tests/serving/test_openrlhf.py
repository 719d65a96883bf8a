"""OpenRLHF's own request code against a real gateway."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from reasrm_serving.frameworks.openrlhf import after_prompt

from tests.serving.clients import OpenRlhfExecutor, SlimeRm, openrlhf_batch, openrlhf_keeps
from tests.serving.loops import ScriptedEngine, gateway

STRENGTHS = [2, 5, 1, 3]
CHATML = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhich is largest?<|im_end|>\n<|im_start|>assistant\n"


async def openrlhf(urls: str | list[str], answers: list[Any], prompt: str = CHATML, label: Any = None) -> list[dict[str, Any]]:
    """The samples of one prompt, each with an executor of its own."""
    calls = (OpenRlhfExecutor(urls).execute(prompt, f"answer {answer}<|im_end|>\n", label) for answer in answers)
    return await asyncio.gather(*calls)


async def test_openrlhf_gets_group_rewards_for_single_rollouts(url: str) -> None:
    batch = openrlhf_batch(await openrlhf(f"{url}/get_reward?cohort=4", STRENGTHS))
    assert batch["rewards"].flatten().argsort().tolist() == [2, 0, 3, 1]
    assert batch["rewards"].is_floating_point() and batch["rewards"].shape == (4, 1)
    assert 0 <= batch["scores"].min() < batch["scores"].max() <= 1
    assert not batch["no_verdict"].any()
    assert batch["reward_stderr"].min() > 0


async def test_several_addresses_of_one_gateway_are_taken_in_turn_and_share_cohorts(url: str) -> None:
    endpoints = [f"{url}/get_reward?cohort=4", f"{url.replace('127.0.0.1', 'localhost')}/get_reward?cohort=4"]
    executor = OpenRlhfExecutor(endpoints)
    samples = await asyncio.gather(*(executor.execute(CHATML, f"answer {strength}<|im_end|>", None) for strength in STRENGTHS))
    assert openrlhf_batch(samples)["rewards"].flatten().argsort().tolist() == [2, 0, 3, 1]
    empty = httpx.post(endpoints[1], json={"query": [], "prompts": [], "labels": []}).json()  # as versions before 0.11.2 send
    assert empty == {"rewards": [], "scores": [], "extra_logs": {"no_verdict": [], "reward_stderr": [], "cohort_missing": []}}


async def test_gateways_without_a_shared_redis_warn_that_cohorts_are_split(
    url: str, engine: ScriptedEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with gateway(engine, tmp_path / "other") as other:
        executor = OpenRlhfExecutor([f"{address}/get_reward?cohort=4&wait=1&run=torn" for address in (url, other)])
        samples = await asyncio.gather(*(executor.execute(CHATML, f"answer {strength}", None) for strength in STRENGTHS))
    assert openrlhf_batch(samples)["cohort_missing"].flatten().tolist() == [2.0] * 4
    assert "do all gateways share one Redis" in caplog.text


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.1, 0.9)])
async def test_dynamic_filtering_drops_a_group_that_teaches_nothing(url: str, bounds: tuple[float, float]) -> None:
    async def group(name: str, answers: list[Any], query: str = "cohort=3&wait=0.5") -> list[dict[str, Any]]:
        executor = OpenRlhfExecutor(f"{url}/get_reward?{query}&run={bounds}{name}")
        return await asyncio.gather(*(executor.execute(f"{name}?", f" answer {answer}", None) for answer in answers))

    assert openrlhf_keeps(await group("different", [1, 2, 3]), bounds)
    assert not openrlhf_keeps(await group("equal", [2, 2, 2]), bounds)
    assert not openrlhf_keeps(await group("alone", [1]), bounds)


def test_more_rollouts_than_a_request_may_hold_are_refused_at_once(url: str) -> None:
    started = time.monotonic()
    body = {"query": [f"Q answer {number}" for number in range(20_000)], "prompts": ["Q"] * 20_000}
    answer = httpx.post(f"{url}/get_reward?cohort=64", json=body, timeout=60)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "query")
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("unit", ["a", "a ", "<|im_start|>", "[INST]"])
def test_a_prompt_of_any_length_is_found_in_time_that_grows_with_it(unit: str) -> None:
    def seconds(size: int) -> float:
        prompt = unit * (size // len(unit))
        started = time.process_time()
        after_prompt(" " + prompt + "answer", prompt)
        after_prompt(prompt[len(prompt) // 2 :] + " answer", prompt + "?")
        return time.process_time() - started

    assert seconds(800_000) < 64 * max(0.005, seconds(50_000))


def test_openrlhf_may_send_a_whole_group_in_one_request(url: str, engine: ScriptedEngine) -> None:
    data = {
        "query": [f"Q{i // 2} answer {strength}" for i, strength in enumerate(STRENGTHS)],
        "prompts": [f"Q{i // 2}" for i in range(4)],
        "labels": [{"any": 1}, None, 3.5, "x"],
    }
    result = httpx.post(f"{url}/get_reward", json=data, timeout=60).json()
    assert result["rewards"][1] > 0 > result["rewards"][0]
    assert result["rewards"][3] > 0 > result["rewards"][2]
    assert engine.calls == 4  # two pairs in both orders; never across prompts


def test_a_lone_rollout_without_cohort_or_reference_gets_a_message_that_says_what_to_add(url: str) -> None:
    answer = httpx.post(f"{url}/get_reward", json={"query": ["Q answer 1"], "prompts": ["Q"], "labels": [None]})
    assert answer.status_code == 422
    assert "?cohort=N" in answer.json()["error"]["message"]


async def test_an_engine_that_comes_back_between_two_tries_costs_no_reward(
    url: str, engine: ScriptedEngine, tmp_path: Path
) -> None:
    with gateway(engine, tmp_path) as elsewhere:
        quiet = await openrlhf(f"{elsewhere}/get_reward?cohort=4", STRENGTHS)
    httpx.get(f"{url}/v1/models")
    engine.down = True
    loud = asyncio.create_task(openrlhf(f"{url}/get_reward?cohort=4&timeout=3&wait=1", STRENGTHS))
    await asyncio.sleep(5)
    engine.down = False
    assert [sample["reward"] for sample in await loud] == [sample["reward"] for sample in quiet]


async def test_five_failures_leave_a_sample_without_reward() -> None:
    started = time.monotonic()
    [sample] = await openrlhf("http://127.0.0.1:9/get_reward?cohort=4", [1])
    assert sample == {"reward": None, "scores": None, "extra_logs": {}}
    assert time.monotonic() - started >= 5


LABELS = [None, True, 0, 3.5, "x", "", [1, {"a": None}], {}, {"gold": ["a", 1]}]


@pytest.mark.parametrize("label", LABELS, ids=json.dumps)
async def test_a_label_is_any_json_value(url: str, label: Any) -> None:
    samples = await openrlhf(f"{url}/get_reward?cohort=2", [1, 2], label=label)
    assert samples[0]["reward"] < samples[1]["reward"]
    async with SlimeRm(f"{url}/remote_rm?cohort=2") as slime:
        rewards = await slime.rewards([SimpleNamespace(prompt="Q", response=f"answer {number}", label=label) for number in (1, 2)])
    assert rewards[0] < rewards[1]


async def test_a_prompt_that_decoding_changed_is_still_found_before_its_response(url: str, engine: ScriptedEngine) -> None:
    """Tokenizers that clean up spaces, and prompts that were cut from the left to fit, give queries with another beginning."""
    prompt = "<|im_start|>user\nWhich , of these numbers , is the largest ?<|im_end|>\n<|im_start|>assistant\n"
    cleaned, cut = prompt.replace(" ,", ",").replace(" ?", "?"), prompt[len(prompt) // 2 :]
    body = {"query": [f"{cleaned}answer 1<|im_end|>", f"{cut}answer 2<|im_end|>"], "prompts": [prompt] * 2, "labels": [None] * 2}
    rewards = httpx.post(f"{url}/get_reward", json=body, timeout=60).json()["rewards"]
    assert rewards[0] < 0 < rewards[1]
    assert "Which , of these numbers , is the largest ?" in engine.texts[-1]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"query": ["a"], "prompts": []}, None),
        ({"query": ["b answer"], "prompts": ["a"], "labels": []}, "query"),
        ({"query": ["<|im_end|>answer"], "prompts": ["<|im_end|>"]}, "prompts.0"),
        ({"query": "a", "prompts": ["a"]}, "query"),
    ],
)
def test_openrlhf_bad_input_gets_a_message_that_says_what_is_wrong(url: str, body: dict, field: str | None) -> None:
    answer = httpx.post(f"{url}/get_reward?cohort=2", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == field
