"""The client against a server: a gateway's refusals, and a server that is not a gateway."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from reasrm.client import Judge, SyncJudge
from reasrm.errors import ConfigurationError, GatewayError, GatewayUnreachable, InputError, ReasrmError
from reasrm.types import NoVerdict, Pair

VERDICT = {"outcome": {"winner": "A", "probability_a": 0.9, "source": "logprobs"}}
Answers = list[tuple[int, dict[str, str], bytes]]


@contextmanager
def answering(answers: Answers) -> Iterator[str]:
    """A server that gives these responses one after the other, and repeats the last one."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(status)
            for name, value in ({"content-length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


async def all_pairs(judge: Judge) -> None:
    async for _ in judge.pairs([Pair.of("q", "a", "b")]):
        pass


async def every_call(judge: Judge) -> list[ReasrmError]:
    """The error of each kind of request. A judgment of one pair does not fail by raising: `NoVerdict` is left out here."""
    calls = (judge.pair("q", "a", "b"), judge.rank("q", ["a", "b"]), judge.reward("q", "a", cohort=2), all_pairs(judge))
    results = await asyncio.gather(*calls, return_exceptions=True)
    return [result for result in results if isinstance(result, ReasrmError)]


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"{}", b"[1]", b"3", b"\xff"])
async def test_a_server_that_is_not_a_gateway_is_reported(body: bytes) -> None:
    with answering([(200, {}, body)]) as url:
        async with Judge(url) as judge:
            raised = await every_call(judge)
    assert [type(error) for error in raised] == [ConfigurationError] * 4
    assert all("not as a reasrm gateway" in str(error) for error in raised)


async def test_an_address_with_an_extra_path_is_reported() -> None:
    with answering([(404, {}, b'{"detail": "Not Found"}')]) as url:
        async with Judge(f"{url}/v1") as judge:
            raised = await every_call(judge)
    assert [type(error) for error in raised] == [ConfigurationError] * 4
    assert all("give the gateway's address alone" in str(error) for error in raised)


async def test_a_gateway_that_needs_a_key_says_where_to_give_it() -> None:
    with answering([(401, {}, b'{"error": {"message": "unknown API key"}}')]) as url:
        async with Judge(url) as judge:
            raised = await every_call(judge)
    assert {str(error) for error in raised} == {"unknown API key (--token or $REASRM_TOKEN; in Python token=...)"}


@pytest.mark.parametrize("after", [{"retry-after": "0"}, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, {}])
async def test_a_busy_gateway_gets_every_kind_of_request_again(after: dict[str, str]) -> None:
    busy = (429, after, b'{"error": {"message": "no room"}}')
    with answering([busy, (200, {}, json.dumps(VERDICT).encode())]) as url:
        async with Judge(url) as judge:
            assert (await judge.pair("q", "a", "b")).winner == "A"
    with answering([busy, (200, {}, json.dumps(VERDICT | {"index": 0}).encode())]) as url:
        async with Judge(url) as judge:
            assert [(index, judgment.winner) async for index, judgment in judge.pairs([Pair.of("q", "a", "b")])] == [(0, "A")]
    with answering([busy]) as url:
        async with Judge(url, busy_retries=0) as judge:
            raised = await every_call(judge)
            judgment = await judge.pair("q", "a", "b")
    assert [error.status for error in raised if isinstance(error, GatewayError)] == [429] * 3
    assert judgment.outcome == NoVerdict(reason="engine_failed", detail="no room")


async def test_a_patient_client_waits_for_a_gateway_that_has_no_engine_yet() -> None:
    failure, success = (503, {}, b'{"error": {"message": "no engine"}}'), (200, {}, b'{"reward": 0.5}')
    with answering([failure, success]) as url:
        async with Judge(url, away_s=20) as judge:
            assert (await judge.reward("q", "a", cohort=2)).reward == 0.5
    with answering([failure, success]) as url:
        async with Judge(url) as judge:
            with pytest.raises(GatewayError, match="no engine"):
                await judge.reward("q", "a", cohort=2)


async def test_a_patient_client_requests_the_rest_of_a_broken_batch() -> None:
    line = json.dumps({"index": 1} | VERDICT).encode() + b"\n"
    rest = json.dumps({"index": 0} | VERDICT | {"model": "after"}).encode() + b"\n"
    pairs = [Pair.of("q", f"a{i}", "b") for i in range(2)]
    answers: Answers = [(200, {"content-length": "9999"}, line), (503, {}, b"{}"), (200, {}, rest)]
    with answering(answers) as url:
        async with Judge(url, away_s=30) as judge:
            results = [(index, judgment.model) async for index, judgment in judge.pairs(pairs)]
    assert results == [(1, ""), (0, "after")]
    with answering([(200, {"content-length": "9999"}, line)]) as url:
        async with Judge(url) as judge:
            with pytest.raises(GatewayUnreachable, match="broke"):
                _ = [result async for result in judge.pairs(pairs)]


async def test_text_that_is_not_unicode_is_refused_before_it_is_sent() -> None:
    async with Judge("http://127.0.0.1:9") as judge:
        assert [type(error) for error in await every_call(judge)] == [GatewayUnreachable] * 3
        for call in (judge.pair("q", "a\ud800", "b"), judge.rank("q", ["a\ud800"]), judge.reward("q\ud800", "a", cohort=2)):
            with pytest.raises(InputError, match="not Unicode"):
                await call


def test_the_blocking_client_has_every_method_of_the_async_client() -> None:
    public = {name for name in vars(Judge) if not name.startswith("_")}
    assert public - {"aclose"} == {name for name in vars(SyncJudge) if not name.startswith("_")} - {"close"}


@pytest.mark.parametrize("options", [{"votse": 3}, {"method": "swiss"}])
def test_a_mistyped_option_is_named_before_anything_is_sent(options: dict[str, Any]) -> None:
    (name,) = options
    with SyncJudge("http://127.0.0.1:9") as judge:
        for call in (lambda: judge.pair("q", "a", "b", **options), lambda: judge.pairs([Pair.of("q", "a", "b")], **options)):
            with pytest.raises(ConfigurationError, match=f"no option {name!r}"):
                call()
        with pytest.raises(ConfigurationError, match="no option 'votse'; did you mean 'votes'"):
            judge.rank("q", ["a", "b"], votse=3)
        with pytest.raises(InputError, match="votes > 1 needs temperature"):
            judge.rank("q", ["a", "b"], votes=3)
        with pytest.raises(ConfigurationError, match="no option 'wait'"):
            judge.reward("q", "a", cohort=2, wait=3)


def test_more_pairs_than_the_gateway_takes_at_once_are_sent_in_parts() -> None:
    many = json.dumps({"error": {"type": "too_many", "message": "pairs: at most 2", "field": "pairs", "limit": 2}}).encode()
    lines = [json.dumps({"index": index} | VERDICT | {"model": "m"}).encode() + b"\n" for index in range(2)]
    answers: Answers = [(422, {}, many), (200, {}, lines[1] + lines[0]), (200, {}, lines[0])]
    with answering(answers) as url, SyncJudge(url) as judge:
        assert len(judge.pairs([Pair.of("q", f"a{i}", "b") for i in range(3)])) == 3


async def test_a_batch_that_ends_without_some_of_its_pairs_is_a_broken_connection() -> None:
    with answering([(200, {}, b"")]) as url:
        async with Judge(url) as judge:
            with pytest.raises(GatewayUnreachable, match="without 1 of its pairs"):
                await all_pairs(judge)


def test_a_judge_that_is_closed_says_so() -> None:
    judge = SyncJudge("http://127.0.0.1:9")
    judge.close()
    judge.close()
    with pytest.raises(ConfigurationError, match="closed"):
        judge.pair("q", "a", "b")


def judge_in_child(judge: SyncJudge, winners: Any) -> None:
    winners.put(judge.pair("q", "a", "b").winner)


def test_a_judge_works_in_a_process_that_was_forked() -> None:
    with answering([(200, {}, json.dumps(VERDICT).encode())]) as url, SyncJudge(url) as judge:
        assert judge.pair("q", "a", "b").winner == "A"
        context = multiprocessing.get_context("fork")
        winners = context.Queue()
        child = context.Process(target=judge_in_child, args=(judge, winners))
        child.start()
        try:
            assert winners.get(timeout=20) == "A"
        finally:
            child.kill()
            child.join()
        assert judge.pair("q", "a", "b").winner == "A"


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (503, "engine_failed", "engine_failed"),
        (504, "deadline", "deadline"),
        (422, "too_long", "too_long"),
        (422, "refused_by_engine", "refused_by_engine"),
        (429, "busy", "engine_failed"),
        (500, "internal", "engine_failed"),
        (502, "bad gateway", "engine_failed"),
    ],
)
async def test_a_failure_that_the_gateway_reports_is_an_outcome(status: int, kind: str, reason: str) -> None:
    body = json.dumps({"error": {"type": kind, "message": "why", "field": None}}).encode()
    with answering([(status, {"retry-after": "0"}, body)]) as url:
        async with Judge(url) as judge:
            assert (await judge.pair("q", "a", "b")).outcome == NoVerdict.model_validate({"reason": reason, "detail": "why"})


async def test_a_mistake_in_the_gateways_own_settings_raises_for_its_callers() -> None:
    body = json.dumps({"error": {"type": "configuration", "message": "the engine refuses the key", "field": "api_key"}}).encode()
    with answering([(500, {}, body)]) as url:
        async with Judge(url) as judge:
            raised = await every_call(judge)
    assert [(type(error), str(error)) for error in raised] == [(ConfigurationError, "the engine refuses the key")] * 4


async def test_the_client_bounds_the_retry_after_of_the_gateway() -> None:
    with answering([(429, {"retry-after": "86400"}, b"{}")]) as url:
        async with Judge(url, busy_retries=0) as judge:
            with pytest.raises(GatewayError) as caught:
                await judge.rank("q", ["a", "b"])
    assert caught.value.retry_after_s == 30.0
