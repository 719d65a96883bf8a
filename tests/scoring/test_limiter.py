"""Requests in flight rise while the engine's throughput grows, fall when it refuses, and never lose an answer."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from reasrm.errors import ConfigurationError, EngineBusy, EngineNonsense, EngineUnreachable, GatewayError, Refused
from reasrm.scoring.aimd import Aimd
from reasrm.scoring.limiter import TRIES, Limiter


class Engine:
    """Answers `capacity` requests at once, each in `seconds`; refuses beyond `room`."""

    def __init__(self, capacity: int, seconds: float = 0.002, room: int = 10_000) -> None:
        self._places = asyncio.Semaphore(capacity)
        self._seconds = seconds
        self._room = room
        self.here = self.most = self.refused = 0

    async def answer(self) -> int:
        if self.here >= self._room:
            self.refused += 1
            raise EngineBusy("full", retry_after_s=0.001)
        self.here += 1
        self.most = max(self.most, self.here)
        try:
            async with self._places:
                await asyncio.sleep(self._seconds)
            return 1
        finally:
            self.here -= 1


async def flood(limiter: Limiter, engine: Engine, requests: int) -> int:
    return sum(await asyncio.gather(*(limiter.run(engine.answer) for _ in range(requests))))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("capacity", [1, 8, 64, 500])
def test_the_bound_finds_what_the_engine_takes_and_stays_near_it(capacity: int, seed: int) -> None:
    """An engine that works on `capacity` requests at once and lets the others wait, measured with 10 % of noise."""
    rng = random.Random(seed)
    aimd = Aimd(16)
    done = 0.0
    for turn in range(400):
        noise = rng.uniform(0.95, 1.05)
        aimd.answered(min(aimd.limit, capacity) * noise, max(1.0, aimd.limit / capacity) / noise)
        done += min(aimd.limit, capacity) / capacity if turn >= 50 else 0
    assert done / 350 >= 0.95
    assert aimd.limit <= max(128, 8 * capacity)


def test_the_bound_of_an_engine_with_room_for_few_comes_down_and_swings_there() -> None:
    aimd = Aimd(64)
    for turn in range(500):
        if aimd.limit > 12:
            aimd.refused()
        else:
            aimd.answered(aimd.limit, 1.0)
        assert turn < 10 or 8 <= aimd.limit <= 14


async def test_the_limit_of_a_willing_engine_grows() -> None:
    limiter, engine = Limiter(start=4), Engine(capacity=1000)
    assert await flood(limiter, engine, 2000) == 2000
    assert limiter.limit > 8
    assert limiter.in_flight == 0


async def test_refusals_bring_the_limit_down_and_lose_nothing() -> None:
    limiter, engine = Limiter(start=64), Engine(capacity=8, room=12)
    assert await flood(limiter, engine, 600) == 600
    assert engine.refused
    assert limiter.refusals == engine.refused
    assert limiter.limit < 40


async def test_a_fixed_limit_stays_and_is_never_exceeded() -> None:
    limiter, engine = Limiter(5), Engine(capacity=100, seconds=0.001)
    assert await flood(limiter, engine, 200) == 200
    assert (limiter.limit, engine.most) == (5, 5)


async def test_an_engine_that_comes_back_is_waited_for() -> None:
    back_at = time.monotonic() + 0.3

    async def answer() -> str:
        if time.monotonic() < back_at:
            raise EngineUnreachable("away")
        return "here"

    assert await Limiter().run(answer) == "here"


async def test_an_engine_that_stays_away_stops_the_run_when_patience_ends() -> None:
    async def answer() -> str:
        raise EngineUnreachable("no engine answers at nowhere")

    with pytest.raises(Refused, match=r"nothing was answered for .*no engine answers at nowhere"):
        await Limiter(patience_s=0.1).run(answer)


async def test_a_request_that_fails_while_others_are_answered_is_tried_a_few_times_and_then_raised() -> None:
    limiter, tries, over = Limiter(2), 0, asyncio.Event()

    async def answers() -> None:
        await asyncio.sleep(0.001)

    async def nonsense() -> str:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0.01)
        raise EngineNonsense("?")

    async def others() -> None:
        while not over.is_set():
            await limiter.run(answers)

    busy = asyncio.create_task(others())
    with pytest.raises(EngineNonsense):
        await limiter.run(nonsense)
    assert tries == TRIES
    over.set()
    await busy


async def test_a_request_that_fails_alone_is_given_up_while_the_engine_answers_others() -> None:
    async def nonsense() -> str:
        raise EngineNonsense("?")

    async def there() -> bool:
        return True

    async def away() -> bool:
        return False

    limiter = Limiter(patience_s=0.05)
    limiter.probe = there
    with pytest.raises(EngineNonsense):
        await limiter.run(nonsense)
    limiter.probe = away
    with pytest.raises(Refused, match="nothing was answered"):
        await limiter.run(nonsense)


async def test_waiting_time_in_a_queue_that_the_run_filled_is_not_a_timeout() -> None:
    """Twenty at once before two slots: the last ones wait five times as long as a request may take."""
    limiter, engine = Limiter(20), Engine(capacity=2, seconds=0.1)
    assert sum(await asyncio.gather(*(limiter.run(engine.answer, timeout_s=0.2) for _ in range(20)))) == 20
    assert limiter.refusals == 0


class Sharing:
    """Works on all of its requests at once, each the slower for it, as llama.cpp does in its slots: `seconds` for one alone."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.here = self.cancelled = 0

    async def answer(self) -> int:
        self.here += 1
        try:
            done = 0.0
            while done < self._seconds:
                await asyncio.sleep(0.005)
                done += 0.005 / self.here
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.here -= 1
        return 1


@pytest.mark.parametrize("fixed", [None, 16], ids=["found", "fixed"])
async def test_a_timeout_that_the_run_caused_lowers_the_bound_and_the_request_is_sent_again(fixed: int | None) -> None:
    """One alone takes 0.05 s of the 0.5 s that each has; sixteen at once would take 0.8 s and never end."""
    limiter, engine = Limiter(fixed, start=16, patience_s=0.01), Sharing(0.05)
    answers = await asyncio.gather(*(limiter.run(engine.answer, timeout_s=0.5) for _ in range(16)))
    assert sum(answers) == 16
    assert engine.cancelled
    assert limiter.limit < 16


async def test_a_deadline_of_a_gateway_that_the_run_filled_lowers_the_bound_too() -> None:
    engine = Sharing(0.05)

    async def judge() -> int:
        try:
            async with asyncio.timeout(0.5):
                return await engine.answer()
        except TimeoutError:
            raise GatewayError("too late", status=504, reason="deadline") from None

    limiter = Limiter(start=16, patience_s=0.01)
    assert sum(await asyncio.gather(*(limiter.run(judge) for _ in range(16)))) == 16
    assert limiter.limit < 16


async def test_an_engine_that_hangs_ends_the_run_after_few_timeouts_also_when_it_was_full() -> None:
    tries = 0

    async def hangs() -> None:
        nonlocal tries
        tries += 1
        await asyncio.Event().wait()

    limiter = Limiter(start=16, patience_s=0.01)
    runs = [asyncio.create_task(limiter.run(hangs, timeout_s=0.05)) for _ in range(16)]
    with pytest.raises(Refused, match="nothing was answered"):
        await asyncio.gather(*runs)
    for run in runs:
        run.cancel()
    assert tries < 2 * 16


async def test_no_more_is_in_flight_than_the_slots_of_an_engine_and_one_that_waits() -> None:
    limiter, engine = Limiter(), Engine(capacity=2, seconds=0.005)
    limiter.keep_near(2)
    assert await flood(limiter, engine, 60) == 60
    assert engine.most <= 3


async def test_an_engine_that_stops_answering_is_a_timeout() -> None:
    async def hangs() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Refused, match=r"no answer within 0.05 s; a longer --timeout may help"):
        await Limiter(patience_s=0.04).run(hangs, timeout_s=0.05)


async def test_a_slow_engine_gets_few_requests_at_first() -> None:
    limiter, engine = Limiter(), Engine(capacity=2, seconds=0.05)
    await flood(limiter, engine, 30)
    assert engine.most <= 16


async def test_a_refused_key_is_raised_at_once_and_a_full_gateway_is_waited_out() -> None:
    answers: list[Exception | str] = [GatewayError("full", status=429, retry_after_s=0.0), "here"]

    async def answer() -> str:
        reply = answers.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    assert await Limiter().run(answer) == "here"
    answers[:] = [ConfigurationError("who are you?")]
    with pytest.raises(ConfigurationError, match="who are you"):
        await Limiter().run(answer)


async def test_a_caller_that_goes_while_it_waits_leaves_no_place_taken() -> None:
    limiter, engine = Limiter(1), Engine(capacity=1, seconds=0.02)
    tasks = [asyncio.create_task(limiter.run(engine.answer)) for _ in range(6)]
    await asyncio.sleep(0.01)
    for task in tasks[1:4]:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(result, asyncio.CancelledError) for result in done] == [False, True, True, True, False, False]
    assert limiter.in_flight == 0


async def test_the_first_request_goes_first_also_after_a_refusal() -> None:
    limiter = Limiter(1)
    refused, ended = set[int](), list[int]()

    async def answer(who: int) -> None:
        if who in (0, 1) and who not in refused:
            refused.add(who)
            raise EngineBusy("full", retry_after_s=0.0)
        await asyncio.sleep(0.005)
        ended.append(who)

    await asyncio.gather(*(limiter.run(lambda who=who: answer(who)) for who in range(8)))
    assert ended == [2, 0, 1, 3, 4, 5, 6, 7]
