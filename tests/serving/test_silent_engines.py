"""Engines that accept requests and say nothing: the caller's deadline holds, and another engine is asked where there is one."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from reasrm_serving.engines.client import EngineClient
from reasrm_serving.engines.member import Member
from reasrm_serving.engines.pool import EnginePool

from reasrm.types import Ask, Message
from tests.serving.loops import ScriptedEngine, gateway
from tests.serving.traffic import metric, until

ASK = Ask(messages=(Message(role="user", content="q"),))
PAIR: dict[str, Any] = {"question": "q", "a": "answer 2", "b": "answer 1", "orders": "ab"}
_GROUP: dict[str, Any] = {"question": "q", "responses": ["answer 1", "answer 2"]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/judge", PAIR),
        ("/v1/judge/stream", PAIR),
        ("/v1/judge/batch", {"pairs": [{"question": "q", "a": "answer 1", "b": "answer 2"}]}),
        ("/v1/rank", _GROUP),
        ("/v1/reward", {"question": "q", "response": "answer 1", "cohort": 2}),
    ],
)
def test_the_callers_deadline_holds_before_the_engine_has_said_what_it_serves(
    tmp_path: Path, path: str, body: dict[str, Any]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        engine = SimpleNamespace(url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        with gateway(engine, tmp_path) as url:
            began = time.monotonic()
            answer = httpx.post(url + path, json=body | {"timeout_s": 0.5}, timeout=30)
            took = time.monotonic() - began
    assert (answer.status_code, answer.json()["error"]["type"]) == (504, "deadline")
    assert 0.5 <= took < 5, "the gateway itself waits ten seconds for an engine"


def test_an_engine_that_accepts_requests_and_never_answers_costs_no_judgment(engine: ScriptedEngine, tmp_path: Path) -> None:
    pairs = [{"question": f"q {number}", "a": "answer 2", "b": "answer 1", "orders": "ab"} for number in range(8)]

    async def ask(url: str, path: str) -> list[int]:
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            answers = await asyncio.gather(*(client.post(url + path, json=pair) for pair in pairs))
            return [answer.status_code for answer in answers if "engine_failed" not in answer.text]

    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        hole = SimpleNamespace(url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        for path in ("/v1/judge", "/v1/judge/stream"):
            with gateway([hole, engine], tmp_path, engine_timeout_s=2.0) as url:
                until(lambda url=url: httpx.get(f"{url}/readyz", timeout=30).status_code == 200)
                assert asyncio.run(ask(url, path)) == [200] * 8
                assert metric(SimpleNamespace(url=url), "reasrm_engine_retries_total") > 0
                until(lambda url=url: metric(SimpleNamespace(url=url), "reasrm_engine_circuit_open") == 1)


async def test_another_engine_is_asked_only_within_the_callers_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        urls = [f"http://127.0.0.1:{hole.getsockname()[1]}" for hole in (one, two)]
        clients = [EngineClient(url, model="m", api_key=None, timeout_s=0.5) for url in urls]
        engines = EnginePool([Member(client, client.url, 60.0) for client in clients])
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.8):
                await engines.complete(ASK)
        assert time.monotonic() - began < 2.0
        assert [member.failures for member in engines.members].count(1) == 1, (
            "the first engine had its time, and the caller its own"
        )
        for client in clients:
            await client.aclose()
