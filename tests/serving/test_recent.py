"""The gateway stores its latest judgments and shows them to permitted callers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from reasrm_serving.auth.context import NOBODY, Caller, Principal, caller, principal
from reasrm_serving.judgment_json import JudgmentJson
from reasrm_serving.observe.history import MAX_BYTES, History, HistoryQuery
from reasrm_serving.settings import Settings

from reasrm.types import Judgment, NoVerdict, Opinion, Options, Order, Outcome, Pair, Reading, Usage, Verdict
from tests.serving.loops import ScriptedEngine, gateway, serving

PAIR = Pair.of("Which is larger?", "answer 2", "answer 1")


def reply(*outcomes: Outcome, size: int = 0) -> JudgmentJson:
    """A judgment whose orders have these `outcomes`."""
    orders: tuple[Order, Order] = ("ab", "ba")
    opinions = tuple(
        Opinion(order=order, outcome=outcome, reading=Reading(), reply="x" * size)
        for order, outcome in zip(orders, outcomes, strict=False)
    )
    return JudgmentJson.of(Judgment(outcome=outcomes[0], opinions=opinions, usage=Usage(prompt_tokens=30, completion_tokens=12)))


def verdict(probability_a: float) -> Verdict:
    return Verdict(winner="A" if probability_a > 0.5 else "B", probability_a=probability_a, source="logprobs")


def note(
    recent: History, key: str, judgment: JudgmentJson, pair: Pair = PAIR, *, run: str | None = None, subset: str | None = None
) -> None:
    token = caller.set(Caller(run, subset))
    recent.note(key, pair, Options(), judgment, 0.1, cached=False)
    caller.reset(token)


async def test_only_the_latest_are_kept() -> None:
    recent = History(keep=3)
    for number in range(5):
        note(recent, str(number), reply(verdict(0.9)))
    assert [item["id"] for item in (await recent.search(HistoryQuery(), 10, NOBODY))["items"]] == ["4", "3", "2"]
    assert recent.find("1", NOBODY) is None


async def test_texts_are_bounded_in_bytes_whatever_the_number() -> None:
    recent = History(keep=1000)
    huge = reply(verdict(0.9), size=MAX_BYTES // 4)
    for number in range(8):
        note(recent, str(number), huge)
    assert (await recent.search(HistoryQuery(), 0, NOBODY))["kept"] == 3


async def test_nothing_is_stored_where_storage_is_off() -> None:
    recent = History(keep=0)
    note(recent, "k", reply(verdict(0.9)))
    assert (await recent.search(HistoryQuery(), 10, NOBODY))["kept"] == 0


async def test_the_first_search_of_a_full_history_leaves_the_event_loop_free() -> None:
    recent = History(keep=4000)
    for number in range(4000):
        note(recent, str(number), reply(verdict(0.9), verdict(0.8)))
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count_turns())
    result = await recent.search(HistoryQuery(q="larger"), 10, NOBODY)
    counting.cancel()
    assert result["matching"] == 4000
    assert turns > 5, "other requests had their turn meanwhile"


async def test_each_filter_narrows_the_search() -> None:
    recent = History(keep=10)
    note(recent, "agree", reply(verdict(0.9), verdict(0.8)), run="one", subset="chat")
    note(recent, "differ", reply(verdict(0.9), verdict(0.2)), run="one", subset="math")
    note(recent, "none", reply(NoVerdict(reason="truncated")), Pair.of("Straße?", "one", "two"), run="two")

    async def ids(**filters: Any) -> list[str]:
        return [item["id"] for item in (await recent.search(HistoryQuery(**filters), 10, NOBODY))["items"]]

    assert await ids() == ["none", "differ", "agree"]
    assert await ids(run="one") == ["differ", "agree"]
    assert await ids(subset="math") == ["differ"]
    assert await ids(disagree=True) == ["differ"]
    assert await ids(outcome="truncated") == ["none"]
    assert await ids(outcome="A") == ["differ", "agree"]
    assert await ids(q="STRASSE") == ["none"]
    assert await ids(q="ANSWER 2", run="two") == []


async def test_the_numbers_of_the_page_are_those_of_the_matching_judgments() -> None:
    now = 1_000_000.0
    recent = History(keep=100, clock=lambda: now)
    for _ in range(12):
        note(recent, "a", reply(verdict(0.97), verdict(0.9)), run="one")
    now += 3600
    for _ in range(6):
        note(recent, "b", reply(verdict(0.03), verdict(0.7)), run="one")
    note(recent, "c", reply(NoVerdict(reason="refused")), run="one")
    page = await recent.search(HistoryQuery(run="one"), 1, NOBODY)
    assert (page["matching"], page["no_verdict"], page["both_orders"], page["consistent"]) == (19, 1, 18, 12)
    assert (page["rate_per_s"], page["rate_over_s"]) == (pytest.approx(7 / 60), 60.0)
    assert page["histogram"][0] == 6
    assert page["histogram"][-1] == 12
    assert [point["share"] for point in page["trend"]] == [1.0, pytest.approx(0.8), 0.0]
    assert all(point["low"] <= point["share"] <= point["high"] for point in page["trend"])
    assert (page["reasons"], page["runs"]) == (["refused"], ["one"])
    assert len(page["items"]) == 1


async def test_the_rate_is_right_where_less_than_a_minute_is_kept() -> None:
    now = 1_000_000.0
    recent = History(keep=100, clock=lambda: now)
    for _ in range(800):
        now += 0.05
        note(recent, "a", reply(verdict(0.9)))
    page = await recent.search(HistoryQuery(), 0, NOBODY)
    assert (page["rate_per_s"], page["rate_over_s"]) == (pytest.approx(20.0), pytest.approx(5.0))


async def test_a_caller_with_a_key_sees_its_own_judgments_and_an_admin_sees_all() -> None:
    recent = History(keep=10)
    for name in ("one", "two"):
        token = principal.set(Principal(name))
        note(recent, f"of {name}", reply(verdict(0.9)), run=name)
        principal.reset(token)
    own = await recent.search(HistoryQuery(), 10, Principal("one"))
    assert ([item["id"] for item in own["items"]], own["kept"], own["runs"]) == (["of one"], 1, ["one"])
    assert recent.find("of two", Principal("one")) is None
    assert (await recent.search(HistoryQuery(), 10, Principal("root", admin=True)))["kept"] == 2


def test_only_the_demo_keeps_judgments_by_default() -> None:
    assert Settings(engine="local", host="127.0.0.1").keeps_recent > 0
    assert Settings(engine="local", host="0.0.0.0").keeps_recent == 0
    assert Settings(engine="http://127.0.0.1:1").keeps_recent == 0
    assert Settings(engine="http://127.0.0.1:1", host="0.0.0.0", recent=7).keeps_recent == 7


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedEngine]:
    scripted = ScriptedEngine()
    with serving(scripted.app) as scripted.url:
        yield scripted


@pytest.fixture(scope="module")
def url(engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with gateway(engine, tmp_path_factory.mktemp("state"), recent=100) as address:
        yield address


def post(url: str, path: str, **body: Any) -> httpx.Response:
    answer = httpx.post(url + path, json=body, timeout=20, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer


def recent(url: str, **filters: Any) -> dict[str, Any]:
    return httpx.get(f"{url}/v1/recent", params=filters, trust_env=False).json()


def test_every_kind_of_request_is_stored_with_its_run(url: str) -> None:
    pair = {"question": "q", "a": "answer 2", "b": "answer 1"}
    post(url, "/v1/judge", **pair, run="ways", subset="one")
    post(url, "/v1/judge", **pair, run="ways", subset="again")
    post(url, "/v1/judge/stream", **pair, temperature=0.5, run="ways", subset="stream")
    post(url, "/v1/judge/batch", pairs=[pair, pair | {"question": "q2"}], run="ways", subset="batch")
    ranking = post(url, "/v1/rank", question="q3", responses=["answer 1", "answer 2", "answer 3"], run="ways", subset="rank").json()
    subsets = [item["subset"] for item in recent(url, run="ways")["items"]]
    assert subsets.count("batch") == 2
    assert subsets.count("rank") == len(ranking["comparisons"])
    assert {"one", "again", "stream"} <= set(subsets)
    assert [item["cached"] for item in recent(url, subset="again")["items"]] == [True]


def test_the_requests_of_a_training_loop_are_stored_under_its_run(url: str) -> None:
    prompts = ["q4"] * 3
    loop = {"query": [f"q4 answer {n}" for n in (1, 2, 3)], "prompts": prompts, "labels": [None] * 3}
    post(url, "/get_reward?run=loop", **loop)
    assert recent(url, run="loop")["matching"] >= 2


def test_a_judgment_is_found_by_its_id_with_the_request_that_asks_for_it_again(url: str) -> None:
    body = {
        "question": [{"role": "user", "content": "hello"}],
        "a": "answer 4",
        "b": "answer 3",
        "rubric": "r",
        "temperature": 0.25,
    }
    answer = post(url, "/v1/judge", **body)
    kept = httpx.get(f"{url}/v1/judgments/{answer.headers['x-judgment-id']}", trust_env=False).json()
    assert kept["judgment"]["outcome"] == answer.json()["outcome"]
    again = post(url, "/v1/judge", **kept["request"])
    assert again.json()["cached"]
    assert again.headers["x-judgment-id"] == answer.headers["x-judgment-id"]


def test_only_if_cached_asks_the_engine_nothing(url: str, engine: ScriptedEngine) -> None:
    pair = {"question": "nobody asked this", "a": "answer 2", "b": "answer 1"}
    before = engine.calls
    answer = httpx.post(f"{url}/v1/judge", json=pair, headers={"cache-control": "only-if-cached"}, trust_env=False)
    assert answer.status_code == 504
    assert answer.json()["error"]["type"] == "not_cached"
    assert engine.calls == before


def test_a_foreign_host_name_that_points_here_is_refused(url: str) -> None:
    answer = httpx.get(f"{url}/v1/recent", headers={"host": "rebound.example"}, trust_env=False)
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "foreign_host")


def test_a_gateway_that_keeps_no_judgments_says_how_to_keep_them(engine: ScriptedEngine, tmp_path: Path) -> None:
    with gateway(engine, tmp_path) as url:
        post(url, "/v1/judge", question="q", a="answer 2", b="answer 1")
        answer = httpx.get(f"{url}/v1/recent", trust_env=False)
        assert answer.status_code == 404
        assert "--recent" in answer.json()["error"]["message"]
        assert b'data-recent="off"' in httpx.get(url, trust_env=False).content


def test_the_page_and_its_files_are_sent_once_and_nothing_else_is(url: str) -> None:
    page = httpx.get(url, trust_env=False)
    assert page.headers["content-type"].startswith("text/html")
    assert b'data-recent="on"' in page.content
    assert httpx.head(url, trust_env=False).headers["etag"] == page.headers["etag"]
    again = httpx.get(url, headers={"if-none-match": page.headers["etag"]}, trust_env=False)
    assert (again.status_code, again.content) == (304, b"")
    for name in ("app.js", "app.css", "examples.json", "icon.svg"):
        file = httpx.get(f"{url}/static/{name}", trust_env=False)
        assert file.status_code == 200
        assert file.headers["x-content-type-options"] == "nosniff"
    for path in ("/static/none.js", "/static/..%2fapp.py", "/static/%2e%2e%2fsettings.py"):
        assert httpx.get(url + path, trust_env=False).status_code == 404
