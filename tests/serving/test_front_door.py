"""Responses of the gateway to requests that reach no route, or that no route can read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serving.loops import ScriptedEngine, gateway, serving

PAIR = {"question": "q", "a": "answer 2", "b": "answer 1", "orders": "ab"}
ORIGIN = "https://study.example"


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedEngine]:
    scripted = ScriptedEngine()
    with serving(scripted.app) as scripted.url:
        yield scripted


@pytest.fixture(scope="module")
def url(engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with gateway(engine, tmp_path_factory.mktemp("state"), recent=10) as address:
        yield address


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_load_balancers_may_send_head(url: str, path: str) -> None:
    httpx.get(f"{url}/v1/models", timeout=20)  # the engine has named the model that it serves
    answer = httpx.head(url + path)
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_compressed_body_is_refused_by_its_encoding(url: str) -> None:
    body = gzip.compress(json.dumps(PAIR).encode())
    answer = httpx.post(f"{url}/v1/judge", content=body, headers={"content-encoding": "gzip"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (415, "unsupported_encoding")


@pytest.mark.parametrize("query", ["limit=-1", "limit=many", "disagree=perhaps"])
def test_wrong_query_parameters_get_an_error_of_the_common_shape(url: str, query: str) -> None:
    answer = httpx.get(f"{url}/v1/recent?{query}")
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["field"]) == (422, "invalid", query.partition("=")[0])
    assert error["message"].startswith(error["field"])


@pytest.mark.parametrize("path", ["/v1/judge", "/v1/judge/batch", "/v1/rank"])
def test_a_page_of_another_origin_cannot_send_requests_through_its_visitor(url: str, engine: ScriptedEngine, path: str) -> None:
    before = engine.calls
    headers = {"content-type": "text/plain", "origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    answer = httpx.post(url + path, content=json.dumps(PAIR), headers=headers)
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "foreign_origin")
    assert engine.calls == before


def test_browsers_are_told_which_origins_may_ask_only_where_the_operator_says_so(
    engine: ScriptedEngine, url: str, tmp_path: Path
) -> None:
    preflight = {"origin": ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    assert "access-control-allow-origin" not in httpx.options(f"{url}/v1/judge", headers=preflight).headers
    with gateway(engine, tmp_path, allow_origin=ORIGIN) as open_url:
        assert httpx.options(f"{open_url}/v1/judge", headers=preflight).headers["access-control-allow-origin"] == ORIGIN
        answer = httpx.post(f"{open_url}/v1/judge", json=PAIR, headers={"origin": ORIGIN, "sec-fetch-site": "cross-site"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, ORIGIN)
        refused = httpx.post(
            f"{open_url}/v1/judge", json=PAIR, headers={"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
        )
        assert refused.status_code == 403
