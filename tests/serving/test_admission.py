"""Admission: keys, rates, the order of requests, deadlines; and weights that move."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from reasrm_serving.auth.context import Caller, Principal, caller, principal
from reasrm_serving.auth.gate import Gate, Key, hashed, load_keys
from reasrm_serving.errors import Problem
from reasrm_serving.judging.fair_queue import FairQueue
from typer.testing import CliRunner

from reasrm.commands.app import app
from reasrm.errors import InputError
from tests.components import Redis, talk
from tests.serving.loops import ScriptedEngine, gateway

PAIR = {"question": "q", "a": "answer 1", "b": "answer 2"}
KEYS = """
[[key]]
name = "slow"
sha256 = "{slow}"
rate = "2/minute"

[[key]]
name = "boss"
sha256 = "{boss}"
admin = true
"""


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "keys.toml"
    file.write_text(KEYS.format(slow=hashed("token-slow"), boss=hashed("token-boss")))
    return file


@pytest.fixture
def url(engine: ScriptedEngine, keys: Path, tmp_path: Path) -> Iterator[str]:
    with gateway(engine, tmp_path, keys=keys) as address:
        yield address


def ask(url: str, token: str | None = None, path: str = "/v1/judge", body: Any = PAIR, **headers: str) -> httpx.Response:
    bearer = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.post(url + path, json=body, headers=bearer | headers, timeout=30)


def test_without_a_key_nothing_is_judged_but_health_is_shown(url: str, engine: ScriptedEngine) -> None:
    assert ask(url).status_code == 401
    wrong = ask(url, "token-slo")
    assert wrong.status_code == 401
    assert wrong.json()["error"]["message"] == "unknown API key"
    assert ask(url, path="/get_reward?cohort=2", body={"query": [], "prompts": []}).status_code == 401
    assert engine.calls == 0
    assert [httpx.get(url + path).status_code for path in ("/healthz", "/readyz", "/metrics")] == [200] * 3


def test_a_key_is_admitted_up_to_its_rate_and_then_learns_when_to_return(url: str) -> None:
    assert [ask(url, "token-slow").status_code for _ in range(3)] == [200, 200, 429]
    refused = ask(url, "token-slow")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.json()["error"]["type"] == "rate_limited"
    assert ask(url, "token-boss").status_code == 200


def test_only_an_admin_key_moves_weights_and_no_old_verdict_is_given_for_new_ones(url: str, engine: ScriptedEngine) -> None:
    move = {"path": "/models/step-2", "weight_version": "v2"}
    assert ask(url, "token-slow", "/v1/admin/weights", move).status_code == 403
    assert ask(url, "token-boss").json()["weight_version"] == "v1"
    assert ask(url, "token-boss").json()["cached"] is True
    moved = ask(url, "token-boss", "/v1/admin/weights", move)
    assert moved.json() == {"model": "scripted", "weight_version": "v2", "before": "v1"}
    assert engine.loaded == ["/models/step-2"]
    fresh = ask(url, "token-boss").json()
    assert (fresh["weight_version"], fresh["cached"]) == ("v2", False)
    again = ask(url, "token-boss", "/v1/admin/weights", move)
    assert again.status_code == 422
    assert again.json()["error"]["field"] == "weight_version"


def test_without_keys_nobody_is_an_admin(engine: ScriptedEngine, tmp_path: Path) -> None:
    with gateway(engine, tmp_path) as url:
        assert ask(url, path="/v1/admin/weights", body={"path": "/x", "weight_version": "v2"}).status_code == 403
        assert ask(url).status_code == 200


def test_a_deadline_stops_work_and_a_past_deadline_starts_none(engine: ScriptedEngine, tmp_path: Path) -> None:
    with gateway(engine, tmp_path) as url:
        assert ask(url, **{"x-deadline": str(time.time() - 1)}).status_code == 504
        assert engine.calls == 0
        engine.pause_s = 5.0
        started = time.monotonic()
        late = ask(url, **{"x-deadline": str(time.time() + 0.7)})
        assert late.status_code == 504
        assert time.monotonic() - started < 4
        assert ask(url, **{"x-deadline": "soon"}).json()["error"]["field"] == "x-deadline"
        assert ask(url, **{"x-priority": "high"}).json()["error"]["field"] == "x-priority"


def _connections(redis: Redis) -> int:
    """How many connections are open besides the one of this request."""
    return int(talk(redis.port, b"INFO clients\r\n").split(b"connected_clients:")[1].split()[0]) - 1


async def test_two_gateways_share_a_rate_and_go_on_alone_when_redis_is_away(redis_factory: Callable[[], Redis]) -> None:
    redis = redis_factory()
    key = Key(name="a", sha256=hashed("t"), rate="3/hour")
    one, two = Gate((key,), redis.url), Gate((key,), redis.url)
    for gate in (one, two, one):
        await gate.enter(key)
    with pytest.raises(Problem) as refused:
        await two.enter(key)
    assert refused.value.status == 429
    assert _connections(redis) == 2
    await one.aclose()
    async with asyncio.timeout(10):
        while _connections(redis) > 1:
            await asyncio.sleep(0.02)
    redis.kill()
    await two.enter(key)  # each gateway counts alone now
    await two.aclose()


async def test_a_rate_is_counted_over_every_kind_of_cache_address(tmp_path: Path) -> None:
    key = Key(name="a", sha256=hashed("t"), rate="1/hour")
    for url in (f"unix://{tmp_path}/no.sock", "rediss://127.0.0.1:9/0"):
        gate = Gate((key,), url)
        await gate.enter(key)
        with pytest.raises(Problem, match="may ask 1/hour"):
            await gate.enter(key)


async def test_concurrency_is_held_and_given_back() -> None:
    key = Key(name="a", sha256=hashed("t"), concurrency=2)
    gate = Gate((key,), None)
    await gate.enter(key)
    await gate.enter(key)
    with pytest.raises(Problem, match="under way"):
        await gate.enter(key)
    gate.leave(key)
    await gate.enter(key)


# --- turns ------------------------------------------------------------------------------------------------------------------


async def waiting(queue: FairQueue, run: str, order: list[str], priority: int = 0) -> asyncio.Task[None]:
    """A judgment of `run` that waits for its turn and then notes that it had it."""

    async def judge() -> None:
        caller.set(Caller(run))
        principal.set(Principal(priority=priority))
        async with queue.turn():
            order.append(run)

    task = asyncio.create_task(judge())
    await asyncio.sleep(0)
    return task


async def test_a_burst_of_one_run_does_not_starve_another() -> None:
    queue, order = FairQueue(1), list[str]()
    async with queue.turn():
        tasks = [await waiting(queue, "burst", order) for _ in range(50)]
        tasks += [await waiting(queue, "small", order) for _ in range(2)]
    await asyncio.gather(*tasks)
    assert order[:4] == ["burst", "small", "burst", "small"]
    assert order.count("burst") == 50
    assert queue.taken == 0


async def test_a_request_of_higher_priority_goes_first() -> None:
    queue, order = FairQueue(1), list[str]()
    async with queue.turn():
        tasks = [
            await waiting(queue, "low", order, -1),
            await waiting(queue, "high", order, 5),
            await waiting(queue, "mid", order, 0),
        ]
    await asyncio.gather(*tasks)
    assert order == ["high", "mid", "low"]


async def test_a_caller_that_gives_up_waiting_takes_no_slot() -> None:
    queue, order = FairQueue(2), list[str]()
    async with queue.turn(), queue.turn():
        assert not queue.free
        tasks = [await waiting(queue, str(i), order) for i in range(6)]
        for task in tasks[::2]:
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert sorted(order) == ["1", "3", "5"]
    assert queue.taken == 0
    assert queue.free


async def test_a_turn_that_arrives_with_the_cancellation_is_passed_on() -> None:
    queue, order = FairQueue(1), list[str]()
    async with queue.turn():
        first, second = await waiting(queue, "first", order), await waiting(queue, "second", order)
    first.cancel()  # its turn has come, but it has not run yet
    await asyncio.gather(first, second, return_exceptions=True)
    assert order == ["second"]
    assert queue.taken == 0


# --- the key file -----------------------------------------------------------------------------------------------------------


def test_a_new_key_is_printed_once_and_its_file_holds_only_the_hash(tmp_path: Path) -> None:
    made = CliRunner().invoke(app, ["keys", "new", "team-a", "--rate", "600/minute", "--admin"])
    assert made.exit_code == 0
    token = made.stderr.strip().rsplit(" ", 1)[1]
    assert token not in made.stdout
    file = tmp_path / "keys.toml"
    file.write_text(made.stdout)
    [key] = load_keys(file)
    assert (key.name, key.rate, key.admin) == ("team-a", "600/minute", True)
    assert key.sha256 == hashlib.sha256(token.encode()).hexdigest()
    assert Gate((key,), None).key_of(f"Bearer {token}") == key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no"),
        ("[[key]]\nname = 1", "name"),
        ('[[key]]\nname = "a"\nsha256 = "short"', "sha256"),
        (f'[[key]]\nname = "a"\nsha256 = "{"0" * 64}"\nrate = "often"', "key.0.rate: 'often' is not a rate"),
        (f'[[key]]\nname = "a"\nsha256 = "{"0" * 64}"\n' * 2, "same name"),
        ("not toml", "cannot read"),
        ("key = 3", "key: "),
        ('[key]\nname = "a"', "key: "),
    ],
)
def test_a_bad_key_file_stops_the_gateway_and_says_why(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        load_keys(file)
