"""The gateway's own connections to an engine: where requests go, how replies are read, and which data never leaves."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from reasrm_serving.engines import client
from reasrm_serving.engines.client import EngineClient
from reasrm_serving.judging.engine_judge import PoolJudge, ServedPrompts
from reasrm_serving.redis_link import RedisLink

from reasrm.engine import EngineInfo, HttpEngine
from reasrm.errors import ConfigurationError, EngineUnreachable
from reasrm.prompts import load_pack
from reasrm.types import Ask, Completion, Message, Options, Pair
from tests.components import Redis, talk
from tests.serving.loops import ScriptedEngine, gateway, serving
from tests.serving.traffic import until

ASK = Ask(messages=(Message(role="user", content="Which is better?"),))
INFO = EngineInfo("scripted", "v1", 8192)


@contextmanager
def black_hole() -> Iterator[str]:
    """An address that drops connections, as a firewall does: its backlog is full and nobody accepts."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


async def test_a_connection_that_is_dropped_is_an_engine_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CONNECT_S", 0.3)
    with black_hole() as url:
        engine = EngineClient(url, model=None, api_key=None, timeout_s=20.0)
        engine._info = INFO
        with pytest.raises(EngineUnreachable):
            await engine.complete(ASK)
        await engine.aclose()


def test_an_engine_that_drops_connections_costs_no_judgment(
    engine: ScriptedEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CONNECT_S", 0.3)
    with black_hole() as hole, gateway([SimpleNamespace(url=hole), engine], tmp_path) as url:
        until(lambda: httpx.get(f"{url}/v1/models", timeout=20).status_code == 200)
        pair = {"question": "q", "a": "answer 2", "b": "answer 1"}
        assert httpx.post(f"{url}/v1/judge", json=pair, timeout=30).json()["winner"] == "A"


async def test_prompts_are_not_carried_to_where_an_engine_redirects() -> None:
    reached: list[str] = []
    there, here = FastAPI(), FastAPI()

    @there.post("/v1/chat/completions")
    async def take(body: dict[str, Any]) -> dict[str, Any]:
        reached.append("prompt")
        return {}

    with serving(there) as elsewhere:

        @here.post("/v1/chat/completions")
        async def redirect() -> RedirectResponse:
            return RedirectResponse(f"{elsewhere}/v1/chat/completions", 307)

        with serving(here) as url:
            engine = EngineClient(url, model=None, api_key=None, timeout_s=20.0)
            engine._info = INFO
            with pytest.raises(ConfigurationError, match="sends its callers to"):
                await engine.complete(ASK)
            await engine.aclose()
    assert not reached


async def test_a_password_in_an_engines_address_is_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with gateway(SimpleNamespace(url=f"http://user:canary@127.0.0.1:{port}"), tmp_path) as url:
        pair = {"question": "q", "a": "answer 2", "b": "answer 1"}
        answers = [httpx.post(f"{url}/v1/judge", json=pair, timeout=30)]
        answers += [httpx.get(url + path, timeout=30) for path in ("/readyz", "/metrics", "/v1/models")]
    assert answers[0].status_code == 503
    assert not any("canary" in answer.text for answer in answers)
    assert "canary" not in caplog.text


async def test_a_wrong_redis_password_stops_the_gateway_and_is_not_read_as_an_absent_redis(redis_factory: Any) -> None:
    redis: Redis = redis_factory()
    talk(redis.port, b"CONFIG SET requirepass right\r\n")
    for url in (redis.url, redis.url.replace("redis://", "redis://:wrong@")):
        with pytest.raises(ConfigurationError, match="refuses the user or password"):
            async with RedisLink(url):
                pass
    async with RedisLink(redis.url.replace("redis://", "redis://:right@")) as link:
        assert link.up


class _Moving(HttpEngine):
    """An engine whose weights move while a stream is read."""

    async def _events(self, path: str, payload: dict[str, Any]) -> Any:
        yield '{"choices": [{"delta": {"content": "<answer>[[A]]</answer>"}, "finish_reason": "stop"}]}'
        yield "[DONE]"

    async def complete(self, ask: Ask) -> Completion:
        return Completion(text="A", usage={"prompt_tokens": 50, "completion_tokens": 1, "requests": 1}, weight_version="v2")  # type: ignore[arg-type]


async def test_a_stream_whose_weights_may_have_moved_names_both_and_counts_what_its_probe_took() -> None:
    async with _Moving("http://127.0.0.1:9", info=INFO) as engine:
        *_, last = [part async for part in engine.stream(ASK)]
    assert isinstance(last, Completion)
    assert last.weight_version == "v1+v2"
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (50, 1)


class _TwoVersions:
    """Two engines of different weights, as the pool shows them to a judge."""

    def __init__(self) -> None:
        self.count = 0

    async def now(self) -> EngineInfo:
        return EngineInfo("m")

    async def complete(self, ask: Ask) -> Completion:
        self.count += 1
        return Completion(text="<answer>[[A]]</answer>", model="m", weight_version=f"v{self.count}")


async def test_a_judgment_by_two_versions_of_the_weights_names_both() -> None:
    judge = PoolJudge(_TwoVersions(), ServedPrompts(load_pack("rubric"), b"key"))  # type: ignore[arg-type]
    judgment = await judge.judge(Pair.of("q", "a", "b"), Options())
    assert judgment.weight_version == "v1+v2"
