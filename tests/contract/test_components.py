"""The base of all tests: servers are real, can be killed and started again, and nothing leaves this machine."""

import json
import socket
import urllib.error
import urllib.request

import pytest

from tests.components import Redis, Sglang, answers, talk


def post(url: str, body: dict[str, object]) -> dict:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def test_sglang_answers_a_chat_with_logprobs_and_its_weight_version(sglang: Sglang) -> None:
    reply = post(f"{sglang.url}/v1/chat/completions", {
        "model": "judge", "messages": [{"role": "user", "content": "A or B?"}],
        "max_tokens": 3, "temperature": 0, "ignore_eos": True, "logprobs": True, "top_logprobs": 2,
    })  # fmt: skip
    assert reply["usage"]["completion_tokens"] == 3
    assert all(token["logprob"] <= 0 for token in reply["choices"][0]["logprobs"]["content"])
    assert reply["metadata"]["weight_version"] == "default"


def test_sglang_continues_a_reply_that_was_begun(sglang: Sglang) -> None:
    question = {"role": "user", "content": "A or B?"}
    plain = {"model": "judge", "messages": [question], "max_tokens": 1}
    begun = plain | {
        "messages": [question, {"role": "assistant", "content": "<answer>"}],
        "continue_final_message": True,
    }
    url = f"{sglang.url}/v1/chat/completions"
    longer, shorter = (post(url, body)["usage"]["prompt_tokens"] for body in (begun, plain))
    prefix = post(f"{sglang.url}/tokenize", {"model": "judge", "prompt": "<answer>", "add_special_tokens": False})
    assert longer == shorter + prefix["count"], "the prefix ends the prompt and is not a closed turn"


def test_redis_is_real_empty_and_comes_back_after_a_kill(redis_factory) -> None:
    redis: Redis = redis_factory()
    assert talk(redis.port, b"SET key value\r\n").startswith(b"+OK")
    redis.flush()
    assert talk(redis.port, b"GET key\r\n").startswith(b"$-1")
    redis.kill()
    with pytest.raises(OSError, match="refused"):
        talk(redis.port, b"PING\r\n")
    redis.restart()
    assert talk(redis.port, b"PING\r\n").startswith(b"+PONG")


def test_a_connection_beyond_this_machine_is_refused() -> None:
    with pytest.raises(ConnectionRefusedError, match="stay on this machine"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("example.org", 80)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen("http://example.org/", timeout=1)
    assert not answers("http://127.0.0.1:9/")
