"""The largest group, 64 responses of 30,000 tokens, is ranked in bounded memory and time, or refused."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from reasrm.judging.swiss import readings_needed
from tests.components import Gateway
from tests.serving.loops import ScriptedServer

WORDS = [
    "the",
    "number",
    "so",
    "then",
    "we",
    "add",
    "carry",
    "digit",
    "sum",
    "result",
    "check",
    "again",
    "because",
    "line",
    "<eval>",
]
TOKENS, COUNT = 30_000, 64
MOST_MB, MOST_S = 700, 90


def long_response(seed: int) -> str:
    """About 30,000 tokens; `answer N` at the end decides for the scripted judge."""
    words = random.Random(seed).choices(WORDS, k=TOKENS)
    return f"{seed} {' '.join(words)} answer {seed % 16 - 8}"


@pytest.fixture(scope="module")
def body() -> bytes:
    return json.dumps(
        {"question": "Which?", "responses": [long_response(seed) for seed in range(COUNT)], "replies": False}
    ).encode()


def rank_while_watched(gateway: Gateway, body: bytes) -> tuple[httpx.Response, float, float]:
    """The response, the longest time of /healthz meanwhile in seconds, and the growth of the gateway's memory in MB."""
    process = psutil.Process(gateway.pid)
    before = largest = process.memory_info().rss
    slowest = 0.0
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(httpx.post, f"{gateway.url}/v1/rank", content=body, timeout=MOST_S)
        while not answer.done():
            started = time.monotonic()
            assert httpx.get(f"{gateway.url}/healthz", timeout=30).status_code == 200
            slowest = max(slowest, time.monotonic() - started)
            largest = max(largest, process.memory_info().rss)
            time.sleep(0.02)
    return answer.result(), slowest, (largest - before) / 2**20


def test_an_engine_that_can_read_them_ranks_them(body: bytes, gateway_factory: Callable[..., Gateway], tmp_path: Path) -> None:
    with ScriptedServer(tmp_path / "engine.log", context=131_072) as engine, gateway_factory("--engine", engine.url) as gateway:
        answer, slowest, grown = rank_while_watched(gateway, body)
        ranking = answer.json()
    assert answer.status_code == 200
    assert None not in ranking["rewards"]
    assert len(ranking["comparisons"]) == readings_needed(COUNT)
    assert {seed % 16 for seed in ranking["order"][:4]} == {15}
    assert slowest < 5.0, "others are served meanwhile"
    assert grown < MOST_MB
    assert len(answer.content) < 2_000_000, "the responses' texts are not returned"


def test_an_engine_that_cannot_read_them_gives_null_and_says_why(
    body: bytes, gateway_factory: Callable[..., Gateway], tmp_path: Path
) -> None:
    with ScriptedServer(tmp_path / "engine.log", context=8192) as engine, gateway_factory("--engine", engine.url) as gateway:
        answer, slowest, grown = rank_while_watched(gateway, body)
        ranking = answer.json()
    assert answer.status_code == 200
    assert ranking["rewards"] == [None] * COUNT
    assert ranking["order"] == []
    outcome = ranking["comparisons"][0]["judgment"]["outcome"]
    assert outcome["reason"] == "too_long"
    assert "the judge's context holds 8192" in outcome["detail"]
    assert slowest < 5.0
    assert grown < MOST_MB


def test_a_gateway_with_a_smaller_limit_refuses_the_body(body: bytes, gateway_factory: Callable[..., Gateway]) -> None:
    with gateway_factory("--engine", "http://127.0.0.1:9", "--max-body-mb", "4") as gateway:
        try:
            answer = httpx.post(f"{gateway.url}/v1/rank", content=body, timeout=60)
        except httpx.WriteError:
            return  # the gateway closed the connection while we were still sending
        assert (answer.status_code, answer.json()["error"]["type"]) == (413, "too_large")
        assert "the gateway's limit" in answer.json()["error"]["message"]
