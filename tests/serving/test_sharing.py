"""Gateways that share a Redis: work is done once, and no answer is wrong when a server dies."""

from __future__ import annotations

import json
import random
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.components import Gateway, Redis, Sglang, answers, talk
from tests.serving.traffic import finished, metric, new_pair, until, version
from tests.tiny_model import CHAINS, make_tiny_model

TYPED = {"engine_failed", "deadline", "busy"}


def ask(gateway: Gateway, body: dict[str, Any]) -> dict[str, Any]:
    return httpx.post(f"{gateway.url}/v1/judge", json=body, timeout=60).json()


def test_the_same_pair_at_two_gateways_takes_one_request_to_the_engine(two_gateways, random_judge: Sglang) -> None:
    body, before = new_pair(max_tokens=400), finished(random_judge)
    with ThreadPoolExecutor() as threads:
        replies = list(threads.map(lambda gateway: ask(gateway, body), two_gateways * 3))
    assert finished(random_judge) == before + 1
    assert {reply["winner"] for reply in replies} == {"A"}
    assert len({reply["usage"]["prompt_tokens"] for reply in replies}) == 1
    assert sum(metric(gateway, "reasrm_coalesced_total") for gateway in two_gateways) == 5


def test_a_judgment_of_one_gateway_is_cached_for_the_other(two_gateways) -> None:
    first, second = two_gateways
    body = new_pair()
    assert ask(first, body)["cached"] is False
    assert ask(second, body)["cached"] is True
    assert metric(second, "reasrm_cache_total") == 1


def test_a_claim_whose_owner_was_killed_is_taken_over(two_gateways, redis_server: Redis) -> None:
    owner, other = two_gateways
    body = new_pair(max_tokens=1500)
    with ThreadPoolExecutor() as threads:
        lost = threads.submit(ask, owner, body)
        until(lambda: b":claim" in talk(redis_server.port, b"KEYS reasrm:*\r\n"))
        waiting = threads.submit(ask, other, body)
        until(lambda: metric(other, "reasrm_in_flight") == 1)
        owner.kill()
        with pytest.raises(httpx.HTTPError):
            lost.result()
        assert waiting.result()["winner"] == "A"
    assert ask(other, body)["cached"] is True


def test_without_redis_judging_goes_on_uncached_and_redis_comes_back_by_itself(
    gateway_factory: Callable[..., Gateway], redis_factory: Callable[..., Redis], random_judge: Sglang
) -> None:
    with (
        redis_factory() as redis,
        gateway_factory("--engine", random_judge.url, "--cache", redis.url) as gateway,
        gateway_factory("--engine", random_judge.url, "--cache", redis.url) as other,
    ):
        until(lambda: _status(gateway) == "ready")
        redis.kill()
        for _ in range(3):
            assert ask(gateway, new_pair())["winner"] == "A"
        assert _status(gateway) == "degraded"
        assert httpx.get(f"{gateway.url}/readyz").status_code == 200
        assert metric(gateway, "reasrm_redis_up") == 0
        assert metric(gateway, "reasrm_cache_errors_total") >= 1
        redis.start()
        until(lambda: _status(gateway) == _status(other) == "ready")
        body = new_pair()
        until(lambda: ask(gateway, body)["cached"] and ask(other, body)["cached"])


def _status(gateway: Gateway) -> str:
    return httpx.get(f"{gateway.url}/readyz", timeout=30).json()["status"]


def test_a_redis_that_hangs_is_waited_for_once(
    gateway_factory: Callable[..., Gateway], redis_factory: Callable[..., Redis], random_judge: Sglang
) -> None:
    with redis_factory() as redis, gateway_factory("--engine", random_judge.url, "--cache", redis.url) as gateway:
        assert ask(gateway, new_pair())["winner"] == "A"
        subprocess.run(["kill", "-STOP", str(redis.pid)], check=True)
        try:
            for _ in range(5):
                assert ask(gateway, new_pair())["winner"] == "A"
            assert metric(gateway, "reasrm_cache_errors_total") == 1, "one command waited; then no more commands were sent"
        finally:
            subprocess.run(["kill", "-CONT", str(redis.pid)], check=True)


def test_new_pair_with_rubbish_in_redis_is_judged_again(two_gateways, redis_server: Redis) -> None:
    first, second = two_gateways
    body = new_pair()
    ask(first, body)
    cli = ["redis-cli", "-u", redis_server.url]
    (key,) = subprocess.run([*cli, "KEYS", "reasrm:{*}"], capture_output=True, text=True, check=True).stdout.split()
    subprocess.run([*cli, "SET", key, "rubbish"], check=True, capture_output=True)
    reply = ask(second, body)
    assert (reply["winner"], reply["cached"]) == ("A", False)


def test_no_verdict_of_old_weights_is_served_for_new_ones(
    two_gateways, random_judge: Sglang, tmp_path_factory: pytest.TempPathFactory
) -> None:
    first, second = two_gateways
    body = new_pair()
    old = ask(first, body)
    load = f"{random_judge.url}/update_weights_from_disk"
    other = make_tiny_model(tmp_path_factory.mktemp("other") / "model", seed=1, endless=True)
    try:
        httpx.post(load, json={"model_path": str(other), "weight_version": "v2"}, timeout=30).raise_for_status()
        until(lambda: all(version(gateway) == "v2" for gateway in two_gateways))
        new = ask(second, body)
        assert (old["weight_version"], new["weight_version"], new["cached"]) == ("default", "v2", False)
        assert new["opinions"][0]["reply"] != old["opinions"][0]["reply"]
        assert ask(first, body)["weight_version"] == "v2"
        assert ask(first, body)["cached"] is True
    finally:
        httpx.post(load, json={"model_path": str(random_judge.model), "weight_version": "default"}, timeout=30).raise_for_status()
        until(lambda: all(version(gateway) == "default" for gateway in two_gateways))
    assert ask(second, body) == old | {"cached": True}


@pytest.mark.timeout(600)
def test_gateway_redis_and_engine_killed_in_turn_under_load_give_no_wrong_answer(
    gateway_factory: Callable[..., Gateway],
    redis_factory: Callable[..., Redis],
    random_judge: Sglang,
) -> None:
    """Every response equals that of a quiet run, or is a typed failure or a broken connection; later requests succeed."""
    bodies = [new_pair(deliberation=chain[0]) for _ in range(10) for chain in CHAINS]
    with redis_factory() as redis, gateway_factory("--engine", random_judge.url, "--cache", redis.url) as gateway:
        quiet = [ask(gateway, body)["winner"] for body in bodies]
        assert quiet == ["A", "B"] * 10
        redis.flush()
        gateway.restart()
        seen: list[tuple[int, str | None]] = []
        over = threading.Event()

        def caller(seed: int) -> None:
            dice = random.Random(seed)
            while not over.is_set():
                number = dice.randrange(len(bodies))
                # half of the requests are new to the cache: another seed changes nothing about a greedy reply
                body = bodies[number] | {"seed": dice.choice((0, dice.randrange(2**31))), "timeout_s": 20}
                seen.append((number, _outcome(gateway, body)))
                over.wait(0.05)  # callers without a pause take the processor from the servers that are starting

        with ThreadPoolExecutor(8) as threads, ExitStack() as stack:
            callers = [threads.submit(caller, seed) for seed in range(8)]
            stack.callback(_on_its_feet, random_judge)
            stack.callback(over.set)
            for server in (redis, gateway, random_judge):
                before = len(seen)
                until(lambda before=before: len(seen) > before + 20, within_s=60)
                server.kill()
                before = len(seen)
                until(lambda before=before: len(seen) > before + 20, within_s=60)
                server.start()
                until(lambda: answers(f"{gateway.url}/readyz"), within_s=60)
            before = len(seen)
            until(lambda: len(seen) > before + 20, within_s=60)
            over.set()
            for future in callers:
                future.result()
        given = [(number, outcome) for number, outcome in seen if outcome in ("A", "B")]
        failed = [outcome for _, outcome in seen if outcome not in ("A", "B")]
        assert [outcome for _, outcome in given] == [quiet[number] for number, _ in given]
        assert set(failed) <= TYPED | {"connection"}
        assert {"engine_failed", "connection"} <= set(failed), "the callers noticed both outages"
        assert [ask(gateway, body)["winner"] for body in bodies] == quiet
        assert _status(gateway) == "ready"


def _on_its_feet(engine: Sglang) -> None:
    if not answers(f"{engine.url}/health"):
        engine.restart()


def _outcome(gateway: Gateway, body: dict[str, Any]) -> str | None:
    try:
        reply = httpx.post(f"{gateway.url}/v1/judge", json=body, timeout=30)
    except httpx.HTTPError:
        return "connection"
    answer = json.loads(reply.content)
    return answer["winner"] if reply.status_code == 200 else answer["error"]["type"]
