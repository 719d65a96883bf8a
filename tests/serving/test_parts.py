"""The gateway's parts by themselves."""

from __future__ import annotations

import asyncio
import stat
import tracemalloc
from itertools import combinations
from pathlib import Path

import pytest
from reasrm_serving.cohorts.early import EarlyComparisons
from reasrm_serving.cohorts.result import Terms, pack_text
from reasrm_serving.http.schemas import JudgeRequest
from reasrm_serving.judging.cache import Cache, judgment_key
from reasrm_serving.judging.fair_queue import FairQueue
from reasrm_serving.judging.fences import fence_key
from reasrm_serving.judging.single_flight import SingleFlight
from reasrm_serving.judgment_json import JudgmentJson
from reasrm_serving.redis_link import RedisLink

from reasrm.judging.group import MethodName, RankOptions, key_of
from reasrm.judging.ranking import surely_meet
from reasrm.prompts import fence_key as library_fence_key
from reasrm.types import Judgment, Message, NoVerdict, Options, Pair, Verdict

PAIR = Pair.of("q", "a", "b")
JUDGMENT = Judgment(outcome=Verdict(winner="A", probability_a=0.75, source="logprobs"), model="m", weight_version="1")


async def test_equal_work_runs_once_and_ends_when_the_last_one_leaves() -> None:
    flights: SingleFlight[str] = SingleFlight()
    started, ended = [], []

    async def work() -> str:
        started.append(1)
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(1)
        return "never"

    waiting = [asyncio.create_task(flights.join("key", work)) for _ in range(3)]
    await asyncio.sleep(0.01)
    for left, task in zip((2, 1, 0), waiting, strict=True):
        assert (len(started), len(ended)) == (1, 0)
        task.cancel()
        await asyncio.wait([task])
        assert len(flights) == (1 if left else 0)
    await asyncio.sleep(0.01)
    assert ended == [1]


async def test_a_request_after_the_last_caller_left_starts_new_work() -> None:
    flights: SingleFlight[str] = SingleFlight()
    go = asyncio.Event()

    async def slow_to_end() -> str:
        try:
            await asyncio.sleep(60)
        finally:
            await go.wait()
        return "old"

    async def work() -> str:
        return "new"

    first = asyncio.create_task(flights.join("key", slow_to_end))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.wait([first])
    assert await flights.join("key", work) == "new"
    go.set()


async def test_an_error_reaches_every_caller_and_is_not_stored() -> None:
    flights: SingleFlight[str] = SingleFlight()
    answers = iter([ValueError("bad"), "good"])

    async def work() -> str:
        await asyncio.sleep(0)
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    both = await asyncio.gather(*(flights.join("key", work) for _ in range(2)), return_exceptions=True)
    assert [type(error) for error in both] == [ValueError, ValueError]
    assert await flights.join("key", work) == "good"


def test_a_reply_survives_its_packing_and_rubbish_is_not_a_reply() -> None:
    reply = JudgmentJson.of(JUDGMENT)
    assert JudgmentJson.unpack(reply.pack()) == reply
    assert reply.read(cached=False) == JUDGMENT
    assert reply.read(cached=True) == JUDGMENT.model_copy(update={"cached": True})
    assert reply.body(cached=True).startswith(
        b'{"winner":"A","probability_a":0.75,"order_consistent":null,"cached":true,"outcome":'
    )
    assert reply.body(cached=True).count(b'cached"') == 1
    for rubbish in (b"", b"rubbish", reply.pack()[:-5]):
        assert JudgmentJson.unpack(rubbish) is None
    failed = JudgmentJson.of(Judgment(outcome=NoVerdict(reason="deadline")))
    assert failed.failed
    assert b'"winner":null,"probability_a":null' in failed.body(cached=False)


def test_the_key_holds_everything_that_decides() -> None:
    decided_by = ("model", "1", "pack", "")
    others = [("m", "odel1", "pack", ""), ("model", "2", "pack", ""), ("model", "1", "p", "")]
    changes = [Options(seed=1), Options(orders="ab"), Options(deliberation="x")]
    keys = {
        judgment_key(PAIR, Options(), decided_by),
        judgment_key(PAIR.swapped(), Options(), decided_by),
        judgment_key(Pair.of("q", "a", "b", rubric="r"), Options(), decided_by),
        *(judgment_key(PAIR, options, decided_by) for options in changes),
        *(judgment_key(PAIR, Options(), other) for other in others),
    }
    assert len(keys) == 9
    assert judgment_key(Pair.of([{"role": "user", "content": "q"}], "a", "b"), Options(votes=1), decided_by) in keys


def test_memory_is_bounded_and_the_latest_stay() -> None:
    cache = Cache(None, ttl_s=60, megabytes=0.05)
    for number in range(1000):
        cache.put(str(number), JudgmentJson.of(JUDGMENT.model_copy(update={"model": str(number)})))
    kept = [number for number in range(1000) if cache.in_memory(str(number))]
    assert 20 < len(kept) < 200
    assert kept == list(range(1000 - len(kept), 1000))
    nothing = Cache(None, ttl_s=60, megabytes=0)
    nothing.put("key", JudgmentJson.of(JUDGMENT))
    assert nothing.in_memory("key") is None


async def test_a_judgment_waits_for_its_turn_as_long_as_it_may() -> None:
    from reasrm.errors import EngineBusy

    queue = FairQueue(1)
    async with queue.turn():
        with pytest.raises(EngineBusy):
            async with queue.turn(wait_s=0.01):
                pass
        waiting = asyncio.create_task(_pass_through(queue))
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting
    assert queue.taken == 0
    assert queue.free


async def _pass_through(queue: FairQueue) -> None:
    async with queue.turn():
        pass


async def test_a_gateway_warns_where_redis_gave_no_fence_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with RedisLink("redis://127.0.0.1:9/0") as link:
        assert await fence_key("given", link, tmp_path) == await fence_key("given", None, tmp_path)
        assert not caplog.messages
        assert await fence_key(None, link, tmp_path) == await fence_key(None, None, tmp_path)
    assert "other gateways share no judgments" in caplog.text


async def test_the_fence_secret_is_made_once_for_this_user_alone(tmp_path: Path) -> None:
    first = await fence_key(None, None, tmp_path / "state")
    assert await fence_key(None, None, tmp_path / "state") == first
    assert await fence_key(None, None, tmp_path / "other") != first
    assert await fence_key("given", None, tmp_path) == await fence_key("given", None, tmp_path / "state")
    (file,) = (tmp_path / "state").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("secret", ["given", " from a file\n"])
async def test_one_fence_secret_gives_one_key_in_the_library_and_in_the_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("REASRM_FENCE_SECRET", secret)
    assert library_fence_key() == await fence_key(secret, None, tmp_path)


async def test_a_stored_fence_secret_gives_one_key_in_the_library_and_in_the_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REASRM_FENCE_SECRET", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert library_fence_key() == await fence_key(None, None, tmp_path / "reasrm")


def test_the_reply_may_take_half_of_a_small_context_unless_the_caller_says() -> None:
    body = {"question": "q", "a": "a", "b": "b"}
    assert JudgeRequest.model_validate(body).options(1024).max_tokens == 512
    assert JudgeRequest.model_validate(body).options(0).max_tokens == Options().max_tokens
    assert JudgeRequest.model_validate(body | {"max_tokens": 1000}).options(1024).max_tokens == 1000


@pytest.mark.parametrize(("method", "size"), [("all_pairs", 6), ("swiss", 24), ("swiss", 6), ("knockout", 24)])
def test_one_of_two_gateways_begins_each_early_comparison_and_the_ranking_uses_it(method: MethodName, size: int) -> None:
    options = RankOptions(method=method)
    texts = [(Message(role="assistant", content=f"answer {number}"),) for number in range(size)]
    begun: list[frozenset[int]] = []

    class Recording:
        async def judge(self, pair: Pair, options: Options) -> Judgment:
            begun.append(frozenset((key_of(pair.a), key_of(pair.b))))
            return JUDGMENT

    terms = Terms((Message(role="user", content="q"),), size, options)
    gateways = [EarlyComparisons(Recording(), terms, asyncio.run) for _ in range(2)]
    for number, text in enumerate(texts):
        for place, gateway in enumerate(gateways):
            gateway.add(text, here=number % 2 == place)
    keys = [key_of(text) for text in texts]
    sure = {frozenset(pair) for pair in combinations(keys, 2) if surely_meet(options, *pair, size)}
    assert set(begun) == sure
    assert len(begun) == len(sure)
    assert bool(sure) == (method == "all_pairs" or (method == "swiss" and size > 8))


def test_a_response_that_waits_for_its_cohort_takes_what_its_text_takes() -> None:
    texts = [(Message(role="assistant", content=f"{number} " + "word " * 150),) for number in range(200)]
    tracemalloc.start()
    try:
        packed = [pack_text(text) for text in texts]
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken < 1.5 * sum(map(len, packed))
