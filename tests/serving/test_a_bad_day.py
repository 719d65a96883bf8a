"""A bad day: engine and Redis are killed again and again, one caller in ten vanishes. Rewards are those of a quiet day or null."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx
import pytest

from tests.components import Redis
from tests.serving.loops import ScriptedServer, gateway

SIZES = [8] * 12 + [16] * 2  # by prompt: small cohorts compare all pairs, large ones in adaptive rounds
KILLS = 3
APART_S = 0.3  # between the rollouts of one prompt and the next


@dataclass(frozen=True)
class Rollout:
    """The request of a caller."""

    prompt: str
    response: str
    size: int
    after_s: float


def rollouts() -> list[Rollout]:
    rng = Random(5)
    return [
        Rollout(f"Question {number}?", f"answer {rng.uniform(-4, 4):.3f}", size, number * APART_S)
        for number, size in enumerate(SIZES)
        for _ in range(size)
    ]


@dataclass
class Callers:
    """Callers that send one request after the other, each for one rollout; `answered` counts the answered ones."""

    client: httpx.AsyncClient
    urls: list[str]
    apart: bool = False
    answered: int = 0
    nulls: Counter[tuple[str, str]] = field(default_factory=Counter)
    sent: list[asyncio.Event] = field(default_factory=list)

    def start(self, batch: list[Rollout]) -> list[asyncio.Task[float | None]]:
        self.sent = [asyncio.Event() for _ in batch]
        return [asyncio.create_task(self._reward(number, rollout)) for number, rollout in enumerate(batch)]

    async def _reward(self, number: int, rollout: Rollout) -> float | None:
        """Retry errors for a limited time, as a training loop does; null stays null."""
        await asyncio.sleep(rollout.after_s if self.apart else 0)
        body = {"question": rollout.prompt, "response": rollout.response, "cohort": rollout.size, "wait_s": 90, "timeout_s": 240}
        self.sent[number].set()
        for _ in range(4):
            try:
                answer = await self.client.post(f"{self.urls[number % len(self.urls)]}/v1/reward", json=body)
                if answer.status_code == 200:
                    self.answered += 1
                    if answer.json()["no_verdict"]:
                        self.nulls[rollout.prompt, answer.json()["no_verdict"]] += 1
                    return answer.json()["reward"]
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.5)
        return None

    async def vanish(self, number: int, task: asyncio.Task[float | None], after_s: float) -> None:
        """Hang up some time after the request was sent: a request that was not sent is not part of any cohort."""
        await self.sent[number].wait()
        await asyncio.sleep(after_s)
        task.cancel()


async def kill_and_start_again(engine: ScriptedServer, redis: Redis, callers: Callers, total: int) -> int:
    """Kill both in turn, each during work, and start them again; returns how often there really was work."""
    hit = 0
    for _ in range(KILLS):
        await wait_for_completions(engine, 30)  # since the engine's last start
        hit += callers.answered < total
        engine.kill()
        await asyncio.sleep(0.7)
        redis.kill()
        await asyncio.sleep(0.7)
        await asyncio.to_thread(redis.start)
        await asyncio.to_thread(engine.start)
        await asyncio.sleep(0.7)
        redis.kill()
        await asyncio.to_thread(redis.start)
    return hit


async def wait_for_completions(engine: ScriptedServer, completions: int) -> None:
    """Return when the engine has written this many completions."""
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(60):
        while (await client.get(f"{engine.url}/calls")).json() < completions:
            await asyncio.sleep(0.05)


@pytest.mark.timeout(600)
async def test_every_reward_of_a_bad_day_is_that_of_a_quiet_day_or_null(redis_factory: Callable[[], Redis], tmp_path: Path) -> None:
    redis, batch = redis_factory(), rollouts()
    async with httpx.AsyncClient(timeout=250, trust_env=False, limits=httpx.Limits(max_connections=400)) as client:
        with ScriptedServer(tmp_path / "quiet.log") as engine, gateway(engine, tmp_path) as url:
            quiet = await asyncio.gather(*Callers(client, [url]).start(batch))
        assert None not in quiet
        with (
            ScriptedServer(tmp_path / "loud.log", pause_s=0.2) as engine,
            gateway(engine, tmp_path, cache=redis.url, timeout_s=240.0, max_in_flight=8) as one,
            gateway(engine, tmp_path, cache=redis.url, timeout_s=240.0, max_in_flight=8) as two,
        ):
            callers = Callers(client, [one, two], apart=True)
            tasks = callers.start(batch)
            rng = Random(1)
            vanished = set(rng.sample(range(len(tasks)), len(tasks) // 10))
            leaving = [asyncio.create_task(callers.vanish(i, tasks[i], rng.uniform(2.0, 5.0))) for i in vanished]
            assert await kill_and_start_again(engine, redis, callers, len(batch) - len(vanished)) == KILLS
            loud = await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*leaving)
    answered = [(was, now) for i, (was, now) in enumerate(zip(quiet, loud, strict=True)) if i not in vanished]
    wrong = [(was, now) for was, now in answered if now is not None and now != pytest.approx(was, abs=1e-9)]
    assert not wrong
    assert sum(now is not None for _, now in answered) > 0.9 * len(answered), f"most rollouts have a reward: {callers.nulls}"
