"""Several engines behind one gateway: another engine takes a failed request, and a broken one gets none until it answers."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from reasrm_serving.auth.gate import hashed
from reasrm_serving.settings import Settings

from reasrm.errors import InputError
from tests.serving.loops import ScriptedEngine, ScriptedServer, gateway, serving
from tests.serving.traffic import metric, until

numbers = itertools.count()


def new_pair(**more: Any) -> dict[str, Any]:
    """A pair that was never judged before."""
    return {"question": f"question {next(numbers)}", "a": "answer 2", "b": "answer 1", "orders": "ab"} | more


def judge(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = httpx.post(f"{url}/v1/judge", json=body or new_pair(), timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ready(url: str) -> dict[str, Any]:
    return httpx.get(f"{url}/readyz", timeout=30).json()


def circuit(url: str, engine: ScriptedServer) -> float:
    lines = httpx.get(f"{url}/metrics", timeout=30).text.splitlines()
    [line] = [line for line in lines if line.startswith(f'reasrm_engine_circuit_open{{engine="{engine.name}"}}')]
    return float(line.rsplit(" ", 1)[1])


# --- engines that are killed ----------------------------------------------------------------------------------------------------


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[ScriptedServer]]:
    with ScriptedServer(tmp_path / "one.log") as one, ScriptedServer(tmp_path / "two.log") as two:
        yield [one, two]


def test_an_engine_that_is_killed_costs_no_judgment_and_gets_requests_again_when_it_is_back(
    servers: list[ScriptedServer], tmp_path: Path
) -> None:
    one, two = servers
    with gateway(servers, tmp_path) as url:
        until(lambda: ready(url)["status"] == "ready")
        assert ready(url)["engines"] == {one.name: "ok", two.name: "ok"}
        for _ in range(20):
            judge(url)
        assert call_count(one) + call_count(two) == 20
        assert call_count(one) and call_count(two), "both take part"
        one.kill()
        assert {judge(url)["winner"] for _ in range(20)} == {"A"}
        until(lambda: circuit(url, one) == 1)
        assert circuit(url, two) == 0
        body = ready(url)
        assert (body["status"], body["engine"], body["engines"][two.name]) == ("degraded", "ok", "ok")
        assert f"engine at http://{one.name}" in body["engines"][one.name] or "no engine answers" in body["engines"][one.name]
        retried = metric_of(url, "reasrm_engine_retries_total")
        for _ in range(10):
            judge(url)
        assert metric_of(url, "reasrm_engine_retries_total") == retried, "an open circuit is not tried"
        one.start()
        until(lambda: circuit(url, one) == 0)
        until(lambda: ready(url)["status"] == "ready")
        for _ in range(20):
            judge(url)
        assert call_count(one) > 0


def test_while_all_engines_are_away_requests_fail_at_once_and_what_is_cached_is_given(
    servers: list[ScriptedServer], tmp_path: Path
) -> None:
    known = new_pair()
    with gateway(servers, tmp_path) as url:
        judge(url, known)
        for server in servers:
            server.kill()
        until(lambda: all(circuit(url, server) == 1 for server in servers))
        started = time.monotonic()
        answer = httpx.post(f"{url}/v1/judge", json=new_pair(), timeout=30)
        assert time.monotonic() - started < 2.0
        assert (answer.status_code, answer.json()["error"]["type"]) == (503, "engine_failed")
        assert "no engine gets requests until one answers again" in answer.json()["error"]["message"]
        assert judge(url, known)["cached"] is True
        assert httpx.get(f"{url}/readyz").status_code == 503
        servers[1].start()
        until(lambda: httpx.get(f"{url}/readyz").status_code == 200)
        assert judge(url)["winner"] == "A"


def test_under_load_an_engine_that_dies_again_and_again_costs_no_judgment(servers: list[ScriptedServer], tmp_path: Path) -> None:
    async def load(url: str) -> list[int]:
        async with httpx.AsyncClient(timeout=60, trust_env=False, limits=httpx.Limits(max_connections=32)) as client:

            async def one() -> int:
                return (await client.post(f"{url}/v1/judge", json=new_pair())).status_code

            statuses: list[int] = []
            for round_ in range(6):
                tasks = [asyncio.create_task(one()) for _ in range(40)]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if round_ % 2:
                    await asyncio.to_thread(servers[0].start)
                else:
                    servers[0].kill()
                statuses += await asyncio.gather(*tasks)
            return statuses

    with gateway(servers, tmp_path) as url:
        judge(url)
        assert asyncio.run(load(url)) == [200] * 240
        assert 0 < metric_of(url, "reasrm_engine_retries_total") <= metric_of(url, "reasrm_engine_failures_total")


def call_count(server: ScriptedServer) -> int:
    """How many completions it has written since it was started."""
    return httpx.get(f"{server.url}/calls", timeout=30).json()


def metric_of(url: str, name: str) -> float:
    return metric(SimpleNamespace(url=url), name)


# --- weights that differ --------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_versions() -> Iterator[tuple[ScriptedEngine, ScriptedEngine]]:
    old, new = ScriptedEngine("v1"), ScriptedEngine("v2")
    with serving(old.app) as old.url, serving(new.app) as new.url:
        yield old, new


def test_judgments_by_engines_of_different_weights_name_their_weights_and_are_not_cached(
    two_versions: tuple[ScriptedEngine, ScriptedEngine], tmp_path: Path
) -> None:
    old, new = two_versions
    with gateway(two_versions, tmp_path) as url:
        until(lambda: version(url) == "v1+v2")
        seen: set[str] = set()
        body = new_pair()
        for _ in range(20):
            before = old.calls, new.calls
            judgment = judge(url, body)
            assert judgment["cached"] is False
            assert judgment["weight_version"] == ("v1" if old.calls > before[0] else "v2")
            seen.add(judgment["weight_version"])
        assert seen == {"v1", "v2"}
        both = judge(url, new_pair(orders="both"))  # at once, so that both engines get some
        assert both["weight_version"] == "v1+v2"
        old.version = "v2"
        until(lambda: version(url) == "v2")
        assert judge(url, body)["cached"] is False
        assert judge(url, body)["cached"] is True
        assert judge(url, body)["weight_version"] == "v2"


def test_new_weights_go_to_every_engine_and_one_that_fails_is_named(
    two_versions: tuple[ScriptedEngine, ScriptedEngine], tmp_path: Path
) -> None:
    old, new = two_versions
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[[key]]\nname = "boss"\nsha256 = "{hashed("token")}"\nadmin = true\n')
    with gateway(two_versions, tmp_path, keys=keys) as url:

        def move(version: str) -> httpx.Response:
            body = {"path": f"/models/{version}", "weight_version": version}
            return httpx.post(f"{url}/v1/admin/weights", json=body, headers={"authorization": "Bearer token"}, timeout=30)

        until(lambda: version(url) == "v1+v2")
        moved = move("v3").json()
        assert (moved["before"], moved["weight_version"]) == ("v1+v2", "v3")
        assert old.loaded == new.loaded == ["/models/v3"]
        new.refuses = "no such folder"
        failed = move("v4")
        assert failed.status_code == 503
        assert "1 of 2 engines did not load /models/v4" in failed.json()["error"]["message"]
        assert "no such folder" in failed.json()["error"]["message"]
        until(lambda: version(url) == "v3+v4")


def version(url: str) -> str:
    return httpx.get(f"{url}/v1/models", headers={"authorization": "Bearer token"}, timeout=30).json()["data"][0]["weight_version"]


# --- settings -------------------------------------------------------------------------------------------------------------------


def test_addresses_are_given_singly_or_with_commas() -> None:
    assert Settings.of(engine="http://a:1/").engine == ("http://a:1",)
    assert Settings.of(engine=["http://a", "http://b,https://c"]).engine == ("http://a", "http://b", "https://c")
    assert Settings().engine == ("local",)
    assert Settings().embedded
    assert not Settings.of(workers="http://a,http://b").embedded


@pytest.mark.parametrize("engine", ["", "a:1", "local,http://a", ["http://a", "http://a"]])
def test_addresses_that_cannot_work_are_refused_by_the_name_of_the_flag(engine: Any) -> None:
    with pytest.raises(InputError, match="--engine: "):
        Settings.of(engine=engine)
