"""The pool of engines, over engines in this process: which one gets a request, and what a failure means for the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from reasrm_serving.engines.member import TRIPS, Member
from reasrm_serving.engines.pool import RETRIES, EnginePool

from reasrm.engine import Abilities, EngineInfo
from reasrm.errors import EngineBusy, EngineError, EngineRefused, EngineTimeout, EngineUnreachable, InputError, TooLong
from reasrm.types import Ask, Completion, Message

ASK = Ask(messages=(Message(role="user", content="q"),))


class Fake:
    """An engine that behaves as `does` says; `calls` counts its requests."""

    def __init__(self, does: Callable[[int], Any] = lambda _: None) -> None:
        self.calls, self._does = 0, does

    async def complete(self, ask: Ask) -> Completion:
        self.calls += 1
        result = self._does(self.calls)
        if isinstance(result, Exception):
            raise result
        if result is not None:
            await result
        return Completion(text="said")

    async def stream(self, ask: Ask) -> AsyncIterator[str | Completion]:
        self.calls += 1
        if self.calls == 1:
            raise EngineUnreachable("before the first word")
        yield "sa"
        raise EngineUnreachable("in the middle of a word")

    async def info(self, *, refresh: bool = False) -> EngineInfo:
        return EngineInfo("m", "1")

    async def load_weights(self, path: str, weight_version: str) -> EngineInfo:
        raise InputError(f"it cannot move to {path}", field="path")

    async def aclose(self) -> None:
        pass


@pytest.fixture
def engines_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., EnginePool]:
    monkeypatch.setattr("reasrm_serving.engines.pool.backoff_s", lambda _: 0.0)

    def make(*fakes: Fake) -> EnginePool:
        return EnginePool([Member(fake, str(number), every_s=60.0) for number, fake in enumerate(fakes)])

    return make


@pytest.mark.parametrize(
    "error",
    [EngineRefused("400"), TooLong("too long", count=2, limit=1)],
    ids=lambda error: type(error).__name__,
)
async def test_a_request_that_every_engine_would_refuse_is_not_repeated(
    engines_of: Callable[..., EnginePool], error: Exception
) -> None:
    fakes = [Fake(lambda _: error), Fake(lambda _: error)]
    with pytest.raises(type(error)):
        await engines_of(*fakes).complete(ASK)
    assert sum(fake.calls for fake in fakes) == 1


async def test_a_timeout_goes_to_every_other_engine_once(engines_of: Callable[..., EnginePool]) -> None:
    late = [Fake(lambda _: EngineTimeout("late")) for _ in range(3)]
    with pytest.raises(EngineTimeout):
        await engines_of(*late).complete(ASK)
    assert [fake.calls for fake in late] == [1, 1, 1]


async def test_a_timeout_of_the_only_engine_is_not_tried_again(engines_of: Callable[..., EnginePool]) -> None:
    late = Fake(lambda _: EngineTimeout("late"))
    with pytest.raises(EngineTimeout):
        await engines_of(late).complete(ASK)
    assert late.calls == 1


class Sharing(Fake):
    """Works on all of its requests at once, each the slower for it; alone one takes `seconds`. It has `slots`, if any."""

    def __init__(self, seconds: float, timeout_s: float = 60.0, slots: int | None = None) -> None:
        super().__init__()
        self._seconds, self._timeout_s = seconds, timeout_s
        self._info = EngineInfo("m", abilities=Abilities(slots=slots, prefixes="slots" if slots else None))
        self.here = self.most = self.late = 0

    async def complete(self, ask: Ask) -> Completion:
        self.here += 1
        self.most = max(self.most, self.here)
        try:
            async with asyncio.timeout(self._timeout_s):
                done = 0.0
                while done < self._seconds:
                    await asyncio.sleep(0.005)
                    done += 0.005 / self.here
        except TimeoutError:
            self.late += 1
            raise EngineTimeout("late") from None
        finally:
            self.here -= 1
        return Completion(text="said")

    async def info(self, *, refresh: bool = False) -> EngineInfo:
        return self._info


async def test_an_engine_with_slots_gets_one_request_per_slot_and_one_that_waits(engines_of: Callable[..., EnginePool]) -> None:
    engine = Sharing(0.002, slots=2)
    pool = engines_of(engine)
    await pool.refresh()
    cancelled = [asyncio.create_task(pool.complete(ASK)) for _ in range(8)]
    await asyncio.sleep(0)
    for task in cancelled[2:6]:
        task.cancel()
    replies = await asyncio.gather(*(pool.complete(ASK) for _ in range(20)), *cancelled, return_exceptions=True)
    assert sum(isinstance(reply, Completion) for reply in replies) == 24
    assert engine.most == 3


async def test_timeouts_that_the_gateway_caused_slow_it_down_and_fail_no_request(engines_of: Callable[..., EnginePool]) -> None:
    """One alone takes 0.05 s of the 0.4 s that each has; twelve at once would take 0.6 s."""
    engine = Sharing(0.05, timeout_s=0.4)
    pool = engines_of(engine)
    await pool.refresh()
    replies = await asyncio.gather(*(pool.complete(ASK) for _ in range(12)))
    assert len(replies) == 12
    assert engine.late
    assert not pool.members[0].open and pool.members[0].failures == 0


async def test_retries_are_bounded_and_go_to_each_engine_in_turn(engines_of: Callable[..., EnginePool]) -> None:
    fakes = [Fake(lambda _: EngineBusy("full")) for _ in range(2)]
    with pytest.raises(EngineBusy):
        await engines_of(*fakes).complete(ASK)
    assert sorted(fake.calls for fake in fakes) == [(RETRIES + 1) // 2] * 2


async def test_bad_requests_open_no_circuit_and_failures_do(engines_of: Callable[..., EnginePool]) -> None:
    refusing, failing = Fake(lambda _: EngineRefused("400")), Fake(lambda _: EngineError("500"))
    engines = engines_of(refusing)
    for _ in range(TRIPS + 1):
        with pytest.raises(EngineRefused):
            await engines.complete(ASK)
    assert not engines.members[0].open
    engines = engines_of(failing)
    with pytest.raises(EngineUnreachable, match="no engine gets requests"):
        await engines.complete(ASK)
    assert failing.calls == TRIPS


async def test_a_circuit_that_closed_opens_again_at_the_next_failure(engines_of: Callable[..., EnginePool]) -> None:
    sick = Fake(lambda call: EngineError("500") if call <= TRIPS + 1 else None)
    engines = engines_of(sick)
    [member] = engines.members
    for calls_by_then in (TRIPS, TRIPS + 1):
        with pytest.raises(EngineError):
            await engines.complete(ASK)
        assert member.open
        assert sick.calls == calls_by_then
        await member.refresh()  # it can name the model that it serves
        assert not member.open
    assert (await engines.complete(ASK)).text == "said"
    assert not member.open


async def test_the_engine_with_the_fewest_requests_is_chosen_and_a_busy_engine_comes_last(
    engines_of: Callable[..., EnginePool],
) -> None:
    go = asyncio.Event()
    full, free = Fake(lambda call: EngineBusy("full", retry_after_s=60) if call == 1 else None), Fake(lambda _: go.wait())
    engines = engines_of(full, free)
    tasks = [asyncio.create_task(engines.complete(ASK)) for _ in range(4)]
    await asyncio.sleep(0.05)
    assert (full.calls, free.calls) == (1, 4)
    assert engines.members[1].under_way == 4
    go.set()
    await asyncio.gather(*tasks)
    assert engines.members[1].under_way == 0
    even = [Fake(lambda _: asyncio.sleep(0.05)) for _ in range(3)]
    engines = engines_of(*even)
    await asyncio.gather(*(engines.complete(ASK) for _ in range(9)))
    assert [fake.calls for fake in even] == [3, 3, 3]


async def test_engines_that_cannot_move_their_weights_are_the_callers_mistake(engines_of: Callable[..., EnginePool]) -> None:
    with pytest.raises(InputError, match="cannot move to /new"):
        await engines_of(Fake(), Fake()).load_weights("/new", "v2")


async def test_a_stream_goes_to_another_engine_only_before_its_first_word(engines_of: Callable[..., EnginePool]) -> None:
    fake = Fake()
    stream = engines_of(fake).stream(ASK)
    assert await anext(stream) == "sa"
    with pytest.raises(EngineUnreachable, match="middle"):
        await anext(stream)
    assert fake.calls == 2
