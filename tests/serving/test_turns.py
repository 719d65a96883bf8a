"""The order of judgments when more are requested than may run at once."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from reasrm_serving.auth.context import Caller, Principal, caller, principal
from reasrm_serving.auth.gate import Gate, Key, hashed
from reasrm_serving.errors import Problem
from reasrm_serving.judging.fair_queue import FairQueue

from reasrm.errors import EngineBusy
from tests.serving.loops import ScriptedEngine, gateway


async def enqueue(queue: FairQueue, order: list[str], *, key: str = "", run: str = "") -> asyncio.Task[None]:
    """A judgment that waits for its turn and then notes that it had it."""

    async def judge() -> None:
        principal.set(Principal(key))
        caller.set(Caller(run))
        async with queue.turn():
            order.append(f"{key}{run}")

    task = asyncio.create_task(judge())
    await asyncio.sleep(0)
    return task


@pytest.mark.parametrize("cancelled", [(0,), (0, 1), (0, 1, 2), (1, 3), (0, 2, 4)])
async def test_waiters_that_are_cancelled_while_they_wake_leave_the_queue_whole(cancelled: tuple[int, ...]) -> None:
    queue, order = FairQueue(1), list[str]()
    async with queue.turn():
        tasks = [await enqueue(queue, order, run=str(number % 2)) for number in range(6)]
        for number in cancelled:
            tasks[number].cancel()  # its task has not run yet when the slot below is released
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in ended if error is not None] == [asyncio.CancelledError] * len(cancelled)
    assert len(order) == 6 - len(cancelled)
    assert queue.free
    assert queue.taken == 0


async def test_a_key_with_many_runs_delays_another_key_by_one_judgment() -> None:
    queue, order = FairQueue(1), list[str]()
    async with queue.turn():
        tasks = [await enqueue(queue, order, key="greedy", run=str(number)) for number in range(300)]
        tasks.append(await enqueue(queue, order, key="modest"))
    await asyncio.gather(*tasks)
    assert "modest" in order[:2]


async def test_a_single_judgment_waits_for_a_bounded_time() -> None:
    queue = FairQueue(1)
    async with queue.turn():
        with pytest.raises(EngineBusy) as refused:
            await queue.take(0.05)
    assert refused.value.retry_after_s
    assert queue.free


def test_while_one_key_ranks_a_large_group_another_key_is_judged(engine: ScriptedEngine, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text("".join(f'[[key]]\nname = "{name}"\nsha256 = "{hashed(name)}"\n' for name in ("greedy", "modest")))
    engine.pause_s = 0.05
    with gateway(engine, tmp_path, keys=keys, max_in_flight=2, turn_wait_s=10.0) as url:

        def rank() -> None:
            group = {"question": "q", "responses": [f"answer {number}" for number in range(10)], "method": "all_pairs"}
            httpx.post(f"{url}/v1/rank", json=group, headers={"authorization": "Bearer greedy"}, timeout=60)

        ranking = threading.Thread(target=rank)
        ranking.start()
        statuses = []
        while ranking.is_alive() and len(statuses) < 8:
            pair: dict[str, Any] = {"question": f"q {len(statuses)}", "a": "answer 2", "b": "answer 1", "orders": "ab"}
            answer = httpx.post(f"{url}/v1/judge", json=pair, headers={"authorization": "Bearer modest"}, timeout=60)
            statuses.append(answer.status_code)
        ranking.join()
    assert len(statuses) > 2
    assert set(statuses) == {200}


def test_a_ranking_that_runs_out_of_time_beside_another_one_is_partial_and_leaves_the_slots_whole(
    engine: ScriptedEngine, tmp_path: Path
) -> None:
    engine.pause_s = 0.15

    def rank(url: str, count: int, timeout_s: float) -> httpx.Response:
        responses = [f"answer {number} of {count}" for number in range(count)]
        group = {"question": f"rank {count}", "responses": responses, "method": "all_pairs", "timeout_s": timeout_s}
        return httpx.post(f"{url}/v1/rank", json=group, timeout=60)

    with gateway(engine, tmp_path, max_in_flight=2, turn_wait_s=20.0) as url, ThreadPoolExecutor() as threads:
        for _ in range(2):
            large = threads.submit(rank, url, 8, 20.0)
            small = rank(url, 6, 0.5)
            assert small.status_code == 200, small.text
            assert {item["judgment"]["outcome"].get("reason") for item in small.json()["comparisons"]} & {"deadline"}
            assert large.result().status_code == 200, large.result().text
            assert all(standing["reward"] is not None for standing in large.result().json()["standings"])
        pair: dict[str, Any] = {"question": "last", "a": "answer 2", "b": "answer 1", "orders": "ab"}
        judged = [threads.submit(httpx.post, f"{url}/v1/judge", json=pair | {"question": f"q {n}"}, timeout=60) for n in range(4)]
        assert [judgment.result().status_code for judgment in judged] == [200] * 4


async def test_a_keys_concurrency_holds_while_its_rate_is_looked_up() -> None:
    key = Key(name="a", sha256=hashed("t"), concurrency=2, rate="1000/minute")
    gate = Gate((key,), None)
    ended = await asyncio.gather(*(gate.enter(key) for _ in range(20)), return_exceptions=True)
    assert sum(not isinstance(error, Problem) for error in ended) == 2
    gate.leave(key)
    await gate.enter(key)


async def test_a_request_beyond_the_rate_returns_its_place() -> None:
    key = Key(name="a", sha256=hashed("t"), concurrency=1, rate="1/hour")
    gate = Gate((key,), None)
    await gate.enter(key)
    gate.leave(key)
    for _ in range(3):
        with pytest.raises(Problem, match="may ask"):
            await gate.enter(key)
