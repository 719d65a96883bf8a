"""Engines that are strict, that report errors in the body, that stream thoughts, and that use TLS."""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme
from reasrm_serving.main import running
from reasrm_serving.settings import Settings

from reasrm.client import Judge
from reasrm.engine import EngineInfo, HttpEngine
from reasrm.errors import CannotContinue, ConfigurationError, EngineError, EngineRefused, EngineUnreachable
from reasrm.judging import EngineJudge
from reasrm.judging.group import Group, RankOptions
from reasrm.judging.ranking import rank
from reasrm.prompts import load_pack
from reasrm.types import Ask, Completion, Message, Options, Pair
from tests.failures.faulty_engine import GOOD, REPLY, Engine, misbehaving

ASK = Ask(messages=(Message(role="user", content="Which is better?"),))
PAIR = Pair.of("What is 17 + 25?", "42", "43")
STRICT = ("continue_final_message", "add_generation_prompt", "rid", "logprobs", "top_logprobs", "seed", "stream_options")


def address(engine: Engine) -> str:
    return f"http://127.0.0.1:{engine.server_port}"


@pytest.fixture
def strict() -> Iterator[Engine]:
    """An engine that refuses every argument that OpenAI's API does not have, and some that it has."""
    with misbehaving() as engine:
        engine.refuses = STRICT
        yield engine


async def test_an_engine_that_refuses_arguments_is_asked_without_them_from_then_on(strict: Engine) -> None:
    async with HttpEngine(address(strict)) as engine:
        ask = ASK.model_copy(update={"seed": 3, "temperature": 1.0})
        assert (await engine.complete(ask)).text == REPLY
        learnt = len(strict.requests)
        assert (await engine.complete(ask)).text == REPLY
        assert len(strict.requests) == learnt + 1
        for _ in range(2):
            learnt = len(strict.requests)
            *_, last = [part async for part in engine.stream(ask)]
            assert isinstance(last, Completion) and last.text == REPLY
    assert len(strict.requests) == learnt + 1
    assert not set(strict.requests[-1]) & set(STRICT)


async def test_a_letter_that_must_continue_a_reply_is_refused_by_name_and_asked_for_once(strict: Engine) -> None:
    async with HttpEngine(address(strict)) as engine:
        begun = ASK.model_copy(update={"prefill": "<rubric>1. short (100%)</rubric><answer>[[", "optional": True})
        for _ in range(2):
            with pytest.raises(CannotContinue, match="cannot continue a reply"):
                await engine.complete(begun)
    sent = [body for body in strict.requests if "continue_final_message" in body]
    assert len(sent) == 1


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
async def test_a_reply_that_cannot_be_continued_is_begun_in_words_and_its_repetition_is_dropped(
    strict: Engine, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rubric = "<rubric>1. short (100%)</rubric>"
    rest = "<eval>A is</eval><answer>[[A]]</answer>"
    monkeypatch.setitem(GOOD["choices"][0]["message"], "content", rubric + rest)
    monkeypatch.setattr("tests.failures.faulty_engine.REPLY", rubric + rest)
    begun = ASK.model_copy(update={"prefill": rubric})
    async with HttpEngine(address(strict)) as engine:
        for _ in range(2):
            *_, reply = [part async for part in engine.stream(begun)] if streamed else [await engine.complete(begun)]
            assert isinstance(reply, Completion) and reply.text == rest
    last = strict.requests[-1]["messages"]
    assert [message["role"] for message in last] == ["user"]
    assert last[0]["content"].startswith("Which is better?") and last[0]["content"].endswith(rubric)


async def test_a_ranking_that_reuses_a_deliberation_is_made_where_the_engine_cannot_continue_replies(
    strict: Engine, tmp_path: Path
) -> None:
    group = Group.model_validate({"question": "What is 17 + 25?", "responses": ["42", "43", "44"]})
    async with HttpEngine(address(strict)) as engine:
        judge = EngineJudge(engine, load_pack("rubric"), b"k")
        ranking = await rank(group, RankOptions(method="all_pairs"), judge, reuse=True)
    assert [comparison.judgment.winner for comparison in ranking.comparisons] == ["A"] * 3
    with running(Settings.of(engine=address(strict), cache="none", port=0, state_dir=tmp_path)) as url:
        async with Judge(url, timeout_s=30) as gateway:
            again = await gateway.rank("What is 17 + 25?", ["42", "43", "44"], method="all_pairs", reuse=True)
            own = await gateway.judge(PAIR.model_copy(update={"rubric": "1. right (100%)"}), Options(orders="ab"))
    assert [comparison.judgment.winner for comparison in again.comparisons] == ["A"] * 3
    assert own.winner == "A"


async def test_the_message_of_an_engine_is_logged_and_shown_to_permitted_callers(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with misbehaving("forbidden") as engine:
        with caplog.at_level(logging.WARNING, "reasrm"):
            async with HttpEngine(address(engine)) as client:
                with pytest.raises(EngineRefused, match="the prompt holds a forbidden token"):
                    await client.complete(ASK)
        assert "the prompt holds a forbidden token" in caplog.text
        for show in (False, True):
            caplog.clear()
            settings = Settings.of(engine=address(engine), cache="none", port=0, state_dir=tmp_path, show_engine_errors=show)
            with caplog.at_level(logging.WARNING, "reasrm"), running(settings) as url:
                answer = httpx.post(f"{url}/v1/judge", json={"question": "q", "a": "x", "b": "y"}, timeout=20)
            error = answer.json()["error"]
            assert (answer.status_code, error["type"]) == (422, "refused_by_engine")
            assert ("forbidden token" in error["message"]) is show
            assert "forbidden token" in caplog.text


async def test_no_message_and_no_log_holds_a_key_or_a_password(caplog: pytest.LogCaptureFixture) -> None:
    with misbehaving("wrong key") as engine, caplog.at_level(logging.DEBUG, "reasrm"):
        url = f"http://user:hunter2@127.0.0.1:{engine.server_port}"
        async with HttpEngine(url, api_key="the-key") as client:
            with pytest.raises(ConfigurationError) as refused:
                await client.info()
    away: list[str] = []
    closed = "http://user:hunter2@127.0.0.1:9"
    async with HttpEngine(closed, retries=0) as client, Judge(closed) as judge:
        for call in (client.complete(ASK), judge.rank("q", ["a", "b"]), judge.models()):
            with pytest.raises(Exception, match=r"127\.0\.0\.1:9") as caught:
                await call
            away.append(str(caught.value))
    text = " ".join([str(refused.value), caplog.text, *away])
    assert "hunter2" not in text and "the-key" not in text
    assert "Incorrect API key provided" in text


def events(*chunks: object) -> httpx.Response:
    data = "".join(f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n" for chunk in chunks)
    return httpx.Response(200, content=data.encode(), headers={"content-type": "text/event-stream"})


async def streamed(response: httpx.Response) -> list[str | Completion]:
    transport = httpx.MockTransport(lambda _: response)
    async with httpx.AsyncClient(transport=transport) as http:
        info = EngineInfo("m")
        return [part async for part in HttpEngine("http://engine", info=info, logprobs=False, http=http).stream(ASK)]


async def test_a_thought_that_is_streamed_apart_is_read_as_in_a_plain_reply() -> None:
    """Both names of the field, first empty texts, then the answer."""
    deltas = [{"role": "assistant", "content": ""}, {"reasoning_content": "Compare. "}, {"reasoning": "A."}, {"content": REPLY}]
    chunks = [{"choices": [{"delta": delta, "finish_reason": None}]} for delta in deltas]
    *pieces, last = await streamed(events(*chunks, {"choices": [{"delta": {}, "finish_reason": "stop"}]}))
    assert isinstance(last, Completion)
    assert last.text == "".join(map(str, pieces)) == f"Compare. A.</think>{REPLY}"
    thought_only = [{"choices": [{"delta": {"reasoning": "Hm."}, "finish_reason": "length"}]}]
    *pieces, last = await streamed(events(*thought_only))
    assert isinstance(last, Completion) and last.text == "".join(map(str, pieces)) == "Hm.</think>"


async def test_a_line_separator_inside_a_text_does_not_break_the_stream() -> None:
    text = "one\u2028two\u0085three"
    *_, last = await streamed(events({"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]}))
    assert isinstance(last, Completion) and last.text == text


async def test_a_stream_without_its_end_is_cut_and_an_error_in_it_is_the_engines() -> None:
    chunk = {"choices": [{"delta": {"content": "<answer>[[A]]</answer>"}, "finish_reason": None}]}
    with pytest.raises(EngineUnreachable, match="ended in the middle"):
        await streamed(events(chunk))
    with pytest.raises(EngineError, match="out of memory"):
        await streamed(events(chunk, {"error": {"message": "CUDA out of memory", "code": 500}}))
    with pytest.raises(EngineRefused, match="too odd"):
        await streamed(events({"error": {"message": "too odd", "code": 400}}))


async def test_a_server_that_does_not_stream_is_read_all_the_same() -> None:
    body = {"choices": [{"message": {"content": REPLY}, "finish_reason": "stop"}]}
    *_, last = await streamed(httpx.Response(200, json=body))
    assert isinstance(last, Completion) and last.text == REPLY


@pytest.fixture
def private(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An engine with a certificate of a private authority, and the file of that authority."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    with misbehaving(context=context) as engine:
        yield f"https://127.0.0.1:{engine.server_port}", file


@pytest.mark.parametrize("how", ["argument", "variable", "gateway"])
async def test_a_private_certificate_is_trusted_where_its_authority_is_named(
    private: tuple[str, Path], how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url, file = private
    if how == "gateway":
        with running(Settings.of(engine=url, cache="none", port=0, state_dir=tmp_path, engine_ca=file)) as gateway:
            async with Judge(gateway) as judge:
                assert (await judge.judge(PAIR, Options(orders="ab"))).winner == "A"
        return
    if how == "variable":
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with HttpEngine(url, ca_file=file if how == "argument" else None) as engine:
        assert (await engine.complete(ASK)).text == REPLY


async def test_a_wrong_certificate_or_scheme_is_reported(private: tuple[str, Path], tmp_path: Path) -> None:
    url, _ = private
    for kind in (HttpEngine(url, retries=0).info(), Judge(url).models()):
        with pytest.raises(ConfigurationError, match=r"certificate of https://127.* is not trusted .*ca_file"):
            await kind
    with misbehaving() as plain:
        wrong = address(plain).replace("http://", "https://")
        for kind in (HttpEngine(wrong, retries=0).info(), Judge(wrong).models()):
            with pytest.raises(ConfigurationError, match="does not speak HTTPS: write http://"):
                await kind
    with pytest.raises(ConfigurationError, match="holds no certificates"):
        HttpEngine(url, ca_file=tmp_path / "nothing.pem")
