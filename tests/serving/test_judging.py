"""A judgment from end to end: real gateway, real SGLang."""

from __future__ import annotations

import json
import subprocess

import httpx
import pytest

from reasrm.client import Judge
from reasrm.types import Judgment, Options, Pair
from tests.components import Gateway, Sglang
from tests.serving.traffic import finished, hanging_on, long_pair, metric, new_pair, running, until


def test_a_pair_judged_twice_by_curl_is_cached_the_second_time_with_the_tokens_of_the_first(
    plain_gateway: Gateway, random_judge: Sglang
) -> None:
    command = ["curl", "-s", f"{plain_gateway.url}/v1/judge", "-d", json.dumps(new_pair())]
    first = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    before = finished(random_judge)
    second = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert (first["winner"], first["cached"], second["cached"]) == ("A", False, True)
    assert first["usage"]["completion_tokens"] == 8
    assert first["usage"]["prompt_tokens"] > 100
    assert second == first | {"cached": True}
    assert first["weight_version"] == "default"
    assert first["prompt_digest"].startswith("rubric@")
    assert finished(random_judge) == before


async def test_the_client_reads_what_the_gateway_writes(plain_gateway: Gateway) -> None:
    body = new_pair(orders="both")
    pair = Pair.of(body["question"], body["a"], body["b"])
    async with Judge(plain_gateway.url) as judge:
        judgment = await judge.judge(pair, Options(deliberation=body["deliberation"], max_tokens=8))
        (model,) = await judge.models()
    assert isinstance(judgment, Judgment)
    assert [opinion.order for opinion in judgment.opinions] == ["ab", "ba"]
    assert judgment.order_consistent is False, "it answers A for every text"
    assert judgment.model == model["id"]
    assert judgment.weight_version == model["weight_version"]


@pytest.mark.parametrize("change", [{"seed": 1}, {"max_tokens": 9}, {"a": "another"}, {"orders": "both"}, {"rubric": "Brevity."}])
def test_every_setting_that_changes_a_judgment_is_part_of_its_key(plain_gateway: Gateway, change: dict[str, object]) -> None:
    body = new_pair()
    for request in (body, body | change):
        assert httpx.post(f"{plain_gateway.url}/v1/judge", json=request, timeout=60).json()["cached"] is False
        assert httpx.post(f"{plain_gateway.url}/v1/judge", json=request, timeout=60).json()["cached"] is True


def test_a_batch_streams_its_judgments_as_they_finish(plain_gateway: Gateway) -> None:
    slow = {"question": "slow", "a": "x " * 300, "b": "y " * 300}
    pairs = [slow, *({"question": f"quick {number}", "a": "x", "b": "y"} for number in range(5))]
    known = new_pair()
    shared = {name: known[name] for name in ("orders", "deliberation", "max_tokens")}
    httpx.post(f"{plain_gateway.url}/v1/judge", json=pairs[3] | shared, timeout=60)
    with httpx.stream("POST", f"{plain_gateway.url}/v1/judge/batch", json={"pairs": pairs, **shared}, timeout=60) as response:
        lines = [json.loads(line) for line in response.iter_lines()]
    assert response.headers["content-type"] == "application/x-ndjson"
    assert sorted(line["index"] for line in lines) == list(range(6))
    assert lines[0]["index"] == 3, "the cached judgment comes first"
    assert all(line["winner"] == "A" for line in lines)


def test_a_stream_shows_both_replies_while_they_are_written_and_then_the_judgment(plain_gateway: Gateway) -> None:
    body = new_pair(orders="both", max_tokens=30)
    first, again = (_events(plain_gateway, body) for _ in range(2))
    for events in (first, again):
        *deltas, (last, judgment) = events
        assert {name for name, _ in deltas} == {"delta"}
        assert last == "judgment"
        for number, opinion in enumerate(judgment["opinions"]):
            pieces = [delta for _, delta in deltas if delta["reply"] == number]
            assert "".join(delta["text"] for delta in pieces) == opinion["reply"]
            assert {delta["order"] for delta in pieces} == {opinion["order"]}
    assert len(first) > 10, "piece by piece"
    assert (first[-1][1]["cached"], again[-1][1]["cached"]) == (False, True)
    plain = httpx.post(f"{plain_gateway.url}/v1/judge", json=body, timeout=60).json()
    assert plain == again[-1][1], "a stream and a plain request share the cache"


def _events(gateway: Gateway, body: dict[str, object]) -> list[tuple[str, dict]]:
    with httpx.stream("POST", f"{gateway.url}/v1/judge/stream", json=body, timeout=60) as response:
        blocks = response.read().decode().strip().split("\n\n")
    pairs = (block.split("\n") for block in blocks)
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in pairs]


@pytest.mark.parametrize("route", ["/v1/judge", "/v1/judge/stream", "/v1/judge/batch"])
def test_a_client_that_hangs_up_stops_its_generation(plain_gateway: Gateway, random_judge: Sglang, route: str) -> None:
    body = long_pair(orders="both")
    if route.endswith("batch"):
        pair = {name: body.pop(name) for name in ("question", "a", "b")}
        body["pairs"] = [pair, pair | {"a": "another"}]
    with hanging_on(plain_gateway.url + route, body):
        until(lambda: running(random_judge) >= 2)
    until(lambda: running(random_judge) == 0, within_s=10)
    assert metric(plain_gateway, "reasrm_in_flight") == 0


def test_equal_requests_at_once_take_one_reply_and_a_caller_that_leaves_does_not_stop_the_others(
    plain_gateway: Gateway, random_judge: Sglang
) -> None:
    body, before, joined = new_pair(max_tokens=400), finished(random_judge), metric(plain_gateway, "reasrm_coalesced_total")
    command = ["curl", "-s", f"{plain_gateway.url}/v1/judge", "-d", json.dumps(body)]
    leaving, *staying = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    until(lambda: metric(plain_gateway, "reasrm_in_flight") == 4)
    leaving.kill()
    leaving.communicate()
    answers = [json.loads(process.communicate()[0]) for process in staying]
    assert answers[0]["winner"] == "A"
    assert answers[0] == answers[1] == answers[2]
    assert finished(random_judge) == before + 1
    assert metric(plain_gateway, "reasrm_coalesced_total") == joined + 3


def test_the_description_of_the_api_has_examples_that_work(plain_gateway: Gateway) -> None:
    described = httpx.get(f"{plain_gateway.url}/openapi.json").json()["paths"]
    for route in ("/v1/judge", "/v1/judge/batch"):
        content = described[route]["post"]["requestBody"]["content"]["application/json"]
        for example in content["examples"].values():
            body = example["value"] | {"max_tokens": 4}
            response = httpx.post(plain_gateway.url + route, json=body, timeout=60)
            assert response.status_code == 200, response.text
