"""A client with fewer connections than waiting rollouts, as slime's is, gets each rollout its group's reward."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import pytest

from tests.components import Redis
from tests.serving.clients import SlimeRm
from tests.serving.loops import ScriptedEngine, gateway


def samples_of(prompts: int, size: int) -> list[Any]:
    """All first rollouts of the prompts, then all second ones, and so on."""
    return [
        SimpleNamespace(prompt=f"Question {prompt}?", response=f"answer {rollout} {prompt}", label=None)
        for rollout in range(size)
        for prompt in range(prompts)
    ]


async def sent_back(url: str) -> float:
    async with httpx.AsyncClient(trust_env=False) as client:
        lines = (await client.get(f"{url}/metrics")).text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith("reasrm_rollouts_sent_back_total"))


async def assert_group_rewards(url: str, samples: list[Any], bodies: list[Any]) -> None:
    """Each rollout has the reward that its whole group, ranked at once, gives it."""
    rewards = {(sample.prompt, sample.response): body["score"] for sample, body in zip(samples, bodies, strict=True)}
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        for prompt in {sample.prompt for sample in samples}:
            responses = [sample.response for sample in samples if sample.prompt == prompt]
            ranking = await client.post(f"{url}/v1/rank", json={"question": prompt, "responses": responses, "replies": False})
            group = [rewards[prompt, response] for response in responses]
            assert group == pytest.approx(ranking.json()["rewards"], abs=1e-6)


async def test_96_prompts_with_their_second_rollouts_last_come_through_64_connections(url: str) -> None:
    samples = samples_of(96, 2)
    async with SlimeRm(f"{url}/remote_rm?cohort=2&no_verdict=null&key=score") as slime:
        bodies = await asyncio.gather(*(slime.remote_rm(sample) for sample in samples))
    assert await sent_back(url) > 0
    await assert_group_rewards(url, samples, bodies)


async def test_while_few_wait_none_is_sent_back(url: str) -> None:
    samples = samples_of(20, 2)
    async with SlimeRm(f"{url}/remote_rm?cohort=2&no_verdict=null&key=score") as slime:
        first = [asyncio.create_task(slime.remote_rm(sample)) for sample in samples[:20]]
        await asyncio.sleep(2.5)
        await asyncio.gather(*first, *(slime.remote_rm(sample) for sample in samples[20:]))
    assert await sent_back(url) == 0


async def test_hold_0_returns_no_rollout_early(url: str) -> None:
    samples = samples_of(60, 2)
    async with SlimeRm(f"{url}/remote_rm?cohort=2&wait=3&no_verdict=null&key=score&hold=0") as slime:
        bodies = await asyncio.gather(*(slime.remote_rm(sample) for sample in samples[:60]))
    assert {body["no_verdict"] for body in bodies} == {"alone"}
    assert await sent_back(url) == 0


async def test_gateways_that_share_a_redis_notice_together_that_a_client_has_no_connection_left(
    engine: ScriptedEngine, tmp_path: Path, redis_server: Redis
) -> None:
    samples = samples_of(16, 2)
    with gateway(engine, tmp_path, cache=redis_server.url) as one, gateway(engine, tmp_path, cache=redis_server.url) as two:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=10)) as session:

            async def ask(number: int, sample: Any) -> Any:
                address = f"{(one, two)[number % 2]}/remote_rm?cohort=2&no_verdict=null&key=score&hold=7"
                while True:
                    async with session.post(address, json=vars(sample)) as answer:
                        if answer.status == 200:
                            return await answer.json()
                        assert answer.status == 503
                        await asyncio.sleep(int(answer.headers["retry-after"]) + random.random())

            bodies = await asyncio.gather(*(ask(number, sample) for number, sample in enumerate(samples)))
        await assert_group_rewards(one, samples, bodies)


async def test_an_early_503_says_that_the_rollout_keeps_its_place_and_how_to_disable_it(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:

        async def ask(response: str) -> httpx.Response:
            address = f"{url}/remote_rm?cohort=3&hold=1&key=score&no_verdict=null"
            return await client.post(address, json={"prompt": "Which?", "response": response})

        async def until_rewarded(response: str) -> float:
            while (answer := await ask(response)).status_code == 503:
                await asyncio.sleep(int(answer.headers["retry-after"]))
            return answer.json()["score"]

        first = asyncio.create_task(ask("answer 1"))
        await asyncio.sleep(0.3)
        second = asyncio.create_task(until_rewarded("answer 2"))
        refusal = await first
        assert (refusal.status_code, refusal.json()["error"]["type"]) == (503, "waiting")
        assert refusal.headers["retry-after"] == "1"
        assert "keeps its place" in refusal.json()["error"]["message"]
        assert "hold=0" in refusal.json()["error"]["message"]
        scores = await asyncio.gather(until_rewarded("answer 1"), second, until_rewarded("answer 3"))
    assert scores[0] < scores[1] < scores[2]
