"""A bad day: the engine and Redis restart and one caller in ten vanishes, and every reward is that of a quiet day, or null."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random

import httpx
import pytest

from tests.components import Redis
from tests.serving.loops import ScriptedEngine, gateway, serving

GROUPS, SIZE = 12, 4


def rollouts() -> list[tuple[str, str]]:
    rng = Random(5)
    return [(f"Question {group}?", f"answer {rng.uniform(-4, 4):.3f}") for group in range(GROUPS) for _ in range(SIZE)]


async def reward(client: httpx.AsyncClient, url: str, prompt: str, response: str) -> float | None:
    """As a loop would that retries errors until its patience is over; null stays null."""
    query = {"cohort": SIZE, "no_verdict": "null", "wait": 60, "timeout": 100}
    body = {"prompt": prompt, "response": response}
    for _ in range(4):
        try:
            answer = await client.post(f"{url}/remote_rm", json=body, params=query)
            if answer.status_code == 200:
                return answer.json()
        except httpx.HTTPError:
            pass
        await asyncio.sleep(0.5)
    return None


@pytest.mark.timeout(300)
async def test_on_a_bad_day_every_reward_is_that_of_a_quiet_one_or_null(redis_factory: Callable[[], Redis], tmp_path: Path) -> None:
    engine, redis, asked = ScriptedEngine(), redis_factory(), rollouts()
    with serving(engine.app) as engine.url:
        async with httpx.AsyncClient(timeout=110, trust_env=False, limits=httpx.Limits(max_connections=200)) as client:
            with gateway(engine, tmp_path) as quiet_url:
                quiet = await asyncio.gather(*(reward(client, quiet_url, *each) for each in asked))
            assert None not in quiet
            engine.pause_s = 2.0
            with (
                gateway(engine, tmp_path, cache=redis.url, timeout_s=60.0) as one,
                gateway(engine, tmp_path, cache=redis.url, timeout_s=60.0) as two,
            ):
                tasks = [asyncio.create_task(reward(client, (one, two)[i % 2], *each)) for i, each in enumerate(asked)]
                await asyncio.sleep(1.5)  # whoever vanishes has sent its rollout
                vanished = set(Random(1).sample(range(len(tasks)), len(tasks) // 10))
                engine.down = True
                for i in vanished:
                    tasks[i].cancel()
                redis.kill()
                await asyncio.sleep(1.0)
                redis.start()
                engine.down = False
                await asyncio.sleep(1.0)
                redis.kill()
                redis.start()
                loud = await asyncio.gather(*tasks, return_exceptions=True)
    answered = [(was, now) for i, (was, now) in enumerate(zip(quiet, loud, strict=True)) if i not in vanished]
    assert len(answered) == len(asked) - len(vanished)
    assert all(now is None or now == pytest.approx(was, abs=1e-9) for was, now in answered)
    assert sum(now is not None for _, now in answered) > 0.5 * len(answered)  # and most are there
