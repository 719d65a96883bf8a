"""Bad input and a failing engine give an error that says what to do, never a winner."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.components import Gateway, Sglang, free_port
from tests.serving.traffic import hanging_on, long_pair, metric, new_pair, running, until

PAIR: dict[str, Any] = {"question": "What is 2 + 3?", "a": "5", "b": "6"}
MANY = [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"b": None}, "b"),
        ({"b": ""}, "b"),
        ({"b": "  \n"}, "b"),
        ({"a": []}, "a"),
        ({"question": ""}, "question"),
        ({"winner": "A"}, "winner"),
        ({"question": [{"role": "robot", "content": "x"}]}, "question.0.role"),
        ({"question": [*MANY, {"role": "system", "content": "x"}]}, "question"),
        ({"question": [{"role": "user", "content": "x", "colour": "red"}]}, "question.0.colour"),
        ({"a": [{"role": "user", "content": "x"}]}, "a"),
        ({"a": [{"role": "assistant", "tool_calls": [{"arguments": "{}"}]}]}, "a.0.tool_calls.0.name"),
        ({"votes": 0}, "votes"),
        ({"temperature": -1}, "temperature"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"rubric": ""}, "rubric"),
        ({"max_tokens": "many"}, "max_tokens"),
    ],
)
def test_a_wrong_field_is_named(plain_gateway: Gateway, change: dict[str, Any], field: str) -> None:
    response = httpx.post(f"{plain_gateway.url}/v1/judge", json=PAIR | change)
    error = response.json()["error"]
    assert response.status_code == 422, error
    assert error["type"] == "invalid"
    assert error["field"].startswith(field)
    assert error["message"]


def test_a_missing_field_is_named_in_every_route(plain_gateway: Gateway) -> None:
    for route in ("/v1/judge", "/v1/judge/stream"):
        response = httpx.post(plain_gateway.url + route, json={"question": "x", "a": "y"})
        assert (response.status_code, response.json()["error"]["field"]) == (422, "b")
    response = httpx.post(f"{plain_gateway.url}/v1/judge/batch", json={"pairs": [PAIR, PAIR | {"b": ""}]})
    assert response.status_code == 422
    assert response.json()["error"]["field"].startswith("pairs.1.b")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b'{"question": "x", "a": "\xff", "b": "y"}', "not_utf8"),
        (b'{"question": "x", "a": "\\ud800", "b": "y"}', "not_json"),
        (b"[" * 100_000, "not_json"),
    ],
)
def test_a_body_that_is_not_json_gets_400(plain_gateway: Gateway, body: bytes, kind: str) -> None:
    response = httpx.post(f"{plain_gateway.url}/v1/judge", content=body)
    assert (response.status_code, response.json()["error"]["type"]) == (400, kind)


def test_a_body_above_the_limit_gets_413_with_and_without_a_length(plain_gateway: Gateway) -> None:
    big = json.dumps(PAIR | {"a": "x" * 17_000_000}).encode()

    def chunks() -> Iterator[bytes]:
        yield from (big[at : at + 2**20] for at in range(0, len(big), 2**20))

    for content in (big, chunks()):
        try:
            response = httpx.post(f"{plain_gateway.url}/v1/judge", content=content, timeout=30)
        except httpx.WriteError:
            continue  # the gateway closed the connection while we were still sending
        assert (response.status_code, response.json()["error"]["type"]) == (413, "too_large")
    assert httpx.get(f"{plain_gateway.url}/healthz").status_code == 200


def test_a_text_that_does_not_fit_the_model_is_refused_in_its_tokens(plain_gateway: Gateway) -> None:
    for long in (PAIR | {"a": "word " * 20_000}, PAIR | {"max_tokens": 8000}):
        response = httpx.post(f"{plain_gateway.url}/v1/judge", json=long, timeout=30)
        error = response.json()["error"]
        assert (response.status_code, error["type"]) == (422, "too_long")
        assert "context holds 8192" in error["message"]
    pairs = [PAIR | {"a": "word " * 20_000}, PAIR]
    text = httpx.post(f"{plain_gateway.url}/v1/judge/batch", json={"pairs": pairs, "max_tokens": 4}, timeout=60).text
    reasons = {line["index"]: line["outcome"].get("reason") for line in map(json.loads, text.splitlines())}
    assert reasons[0] == "too_long"
    assert reasons[1] != "too_long", "the length of one pair does not affect the others"


def test_a_batch_has_a_limit_and_an_unknown_path_has_the_one_shape(plain_gateway: Gateway) -> None:
    response = httpx.post(f"{plain_gateway.url}/v1/judge/batch", json={"pairs": [PAIR] * 1025})
    assert (response.status_code, response.json()["error"]["field"]) == (422, "pairs")
    for path, kind, message in (
        ("/nothing", "not_found", "nothing at /nothing"),
        ("/v1/judge", "method_not_allowed", "not take GET"),
    ):
        error = httpx.get(plain_gateway.url + path).json()["error"]
        assert error["type"] == kind
        assert message in error["message"] and "/openapi.json" in error["message"]
    assert "/v1/judge" in httpx.get(plain_gateway.url + "/openapi.json").json()["paths"]
    assert httpx.get(plain_gateway.url + "/docs").status_code == 404, "no page loads foreign scripts"


def test_without_room_the_answer_is_429_and_what_is_cached_is_still_given(
    gateway_factory: Callable[..., Gateway], random_judge: Sglang
) -> None:
    known = new_pair()
    with gateway_factory("--engine", random_judge.url, "--max-in-flight", "2", "--turn-wait", "0.2") as gateway:
        url = f"{gateway.url}/v1/judge"
        assert httpx.post(url, json=known, timeout=60).status_code == 200
        with hanging_on(url, long_pair()), hanging_on(url, long_pair()):
            until(lambda: metric(gateway, "reasrm_in_flight") == 2)
            for route in ("/v1/judge", "/v1/judge/stream"):
                refused = httpx.post(gateway.url + route, json=new_pair(), timeout=60)
                assert (refused.status_code, refused.json()["error"]["type"]) == (429, "busy")
                assert int(refused.headers["retry-after"]) >= 1
            assert httpx.post(url, json=known, timeout=60).json()["cached"] is True
            assert "event: judgment" in httpx.post(f"{url}/stream", json=known, timeout=60).text
            assert metric(gateway, "reasrm_in_flight") == 2, "no request waited for a place"
        until(lambda: metric(gateway, "reasrm_in_flight") == 0)
        assert httpx.post(url, json=new_pair(), timeout=60).status_code == 200


def test_the_callers_deadline_stops_the_engine(plain_gateway: Gateway, random_judge: Sglang) -> None:
    started = time.monotonic()
    response = httpx.post(f"{plain_gateway.url}/v1/judge", json=long_pair(timeout_s=0.5), timeout=60)
    assert (response.status_code, response.json()["error"]["type"]) == (504, "deadline")
    assert time.monotonic() - started < 10.0
    body = long_pair(timeout_s=0.5)
    pair = {name: body.pop(name) for name in ("question", "a", "b")}
    lines = httpx.post(f"{plain_gateway.url}/v1/judge/batch", json=body | {"pairs": [pair]}, timeout=60).text
    assert json.loads(lines)["outcome"]["reason"] == "deadline"
    until(lambda: running(random_judge) == 0, within_s=10)


def test_an_absent_engine_gives_no_verdict_and_is_reported_as_absent(gateway_factory: Callable[..., Gateway]) -> None:
    with gateway_factory("--engine", f"http://127.0.0.1:{free_port()}") as gateway:
        ready = httpx.get(f"{gateway.url}/readyz", timeout=60)
        for route, body in (("/v1/judge", PAIR), ("/v1/judge/stream", PAIR), ("/v1/judge/batch", {"pairs": [PAIR]})):
            response = httpx.post(gateway.url + route, json=body, timeout=60)
            assert (response.status_code, response.json()["error"]["type"]) == (503, "engine_failed")
    assert (ready.status_code, ready.json()["status"]) == (503, "not ready")


def test_an_engine_that_hangs_is_left_at_the_deadline_and_judges_again_when_it_wakes(
    plain_gateway: Gateway, random_judge: Sglang
) -> None:
    url = f"{plain_gateway.url}/v1/judge"
    os.killpg(random_judge.pid, signal.SIGSTOP)
    try:
        response = httpx.post(url, json=new_pair(timeout_s=1), timeout=60)
        assert (response.status_code, response.json()["error"]["type"]) == (504, "deadline")
    finally:
        os.killpg(random_judge.pid, signal.SIGCONT)
    assert httpx.post(url, json=new_pair(), timeout=60).json()["winner"] == "A"
