"""The gateway and the trainer rely on this behaviour of a real SGLang server: a new version has to pass these tests first."""

from __future__ import annotations

import json
import math
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.components import Sglang
from tests.tiny_model import make_tiny_model

QUESTION = {"role": "user", "content": "A or B?"}


@pytest.fixture
def server(random_judge: Sglang) -> Sglang:
    return random_judge


def post(server: Sglang, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        text = reply.read()
    return json.loads(text) if text.startswith(b"{") else text


def chat(server: Sglang, **more: Any) -> dict[str, Any]:
    body = {"model": "judge", "messages": [QUESTION], "max_tokens": 4, "temperature": 0, "ignore_eos": True}
    return post(server, "/v1/chat/completions", body | more)


def tokens(reply: dict[str, Any]) -> list[dict[str, Any]]:
    return reply["choices"][0]["logprobs"]["content"]


def test_logprobs_are_those_after_temperature(server: Sglang) -> None:
    body = {"text": "A or B?", "return_logprob": True, "token_ids_logprob": list(range(300, 320))}

    def logprobs(temperature: float) -> dict[int, float]:
        sampling = {"max_new_tokens": 1, "temperature": temperature}
        meta = post(server, "/generate", body | {"sampling_params": sampling})["meta_info"]
        return {token: value for value, token, _text in meta["output_token_ids_logprobs"][0]}

    plain, greedy, sharp = logprobs(1), logprobs(0), logprobs(0.5)
    assert greedy == pytest.approx(plain, abs=1e-4)
    gap, sharp_gap = (max(values.values()) - min(values.values()) for values in (plain, sharp))
    assert sharp_gap == pytest.approx(2 * gap, rel=0.02), "halving the temperature doubles every difference"


def test_a_begun_reply_gives_only_its_continuation(server: Sglang) -> None:
    begun = chat(server, messages=[QUESTION, {"role": "assistant", "content": "<answer>[["}], continue_final_message=True)
    assert "<answer>" not in begun["choices"][0]["message"]["content"]
    assert begun["usage"]["completion_tokens"] == 4


def test_sglang_reads_special_tokens_in_a_message_as_special_tokens(server: Sglang) -> None:
    def size(text: str) -> int:
        return chat(server, messages=[{"role": "user", "content": text}])["usage"]["prompt_tokens"]

    assert size("<|im_end|><|im_start|>") == size("") + 2, "prompts escape them for this reason"


def test_an_aborted_request_ends_at_once_and_reports_it(server: Sglang) -> None:
    answered: list[dict[str, Any]] = []
    started = threading.Thread(target=lambda: answered.append(chat(server, rid="mine", max_tokens=6000, temperature=1)))
    started.start()
    while started.is_alive():  # the abort of a request that has not arrived yet is lost
        post(server, "/abort_request", {"rid": "mine"})
        started.join(0.2)
    assert answered[0]["choices"][0]["finish_reason"] == "abort"
    assert answered[0]["usage"]["completion_tokens"] < 6000


def test_over_long_input_is_refused_with_its_length(server: Sglang) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        chat(server, messages=[{"role": "user", "content": "x" * 9000}])
    answer = json.loads(refused.value.read())
    assert (answer["code"], answer["object"]) == (400, "error")
    assert "longer than the model's context length (8192 tokens)" in answer["message"]


def test_new_weights_change_the_replies_and_the_version_that_each_of_them_names(server: Sglang, tmp_path: Path) -> None:
    before = chat(server, logprobs=True)
    other = make_tiny_model(tmp_path / "other", seed=1, endless=True)
    assert post(server, "/update_weights_from_disk", {"model_path": str(other), "weight_version": "second"})["success"]
    after = chat(server, logprobs=True)
    assert (before["metadata"]["weight_version"], after["metadata"]["weight_version"]) == ("default", "second")
    assert [token["logprob"] for token in tokens(before)] != [token["logprob"] for token in tokens(after)]

    back = {"model_path": str(server.model), "weight_version": "default"}
    assert post(server, "/update_weights_from_disk", back)["success"]
    again = chat(server, logprobs=True)
    assert [token["logprob"] for token in tokens(again)] == pytest.approx([token["logprob"] for token in tokens(before)])
    with pytest.raises(urllib.error.HTTPError, match="400"):
        post(server, "/update_weights_from_disk", {"model_path": str(tmp_path / "none"), "weight_version": "third"})
    assert chat(server)["metadata"]["weight_version"] == "default", "it keeps its weights"


def test_a_score_is_the_share_of_the_named_tokens_in_one_prefill(server: Sglang) -> None:
    body = {"model": "judge", "query": "A or B? [[", "items": [""], "label_token_ids": [36, 37], "apply_softmax": True}
    (shares,) = post(server, "/v1/score", body | {"item_first": False})["scores"]
    assert math.fsum(shares) == pytest.approx(1, abs=1e-3)
    assert all(0 < share < 1 for share in shares)


def test_a_stream_of_generate_is_cumulative_and_keeps_logprobs_with_their_tokens(server: Sglang) -> None:
    body = {"text": "A or B?", "sampling_params": {"max_new_tokens": 8, "temperature": 0}, "return_logprob": True, "stream": True}
    request = urllib.request.Request(f"{server.url}/generate", json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        lines = [line.decode().removeprefix("data: ") for line in reply if line.strip()]
    assert lines.pop().strip() == "[DONE]"
    chunks = [json.loads(line) for line in lines]
    last = chunks[-1]
    assert all(last["output_ids"][: len(chunk["output_ids"])] == chunk["output_ids"] for chunk in chunks)
    assert [token for _value, token, _text in last["meta_info"]["output_token_logprobs"]] == last["output_ids"]
