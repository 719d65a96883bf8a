"""Both stores of cohorts behave alike: each test runs over the gateway's memory and over a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from reasrm_serving.cohorts.memory_store import MemoryStore
from reasrm_serving.cohorts.redis_store import RedisStore
from reasrm_serving.cohorts.result import Pivot, Result, Reward
from reasrm_serving.cohorts.store import Arrival, Place, Role, State, Store, StoreUnavailable
from reasrm_serving.redis_link import RedisLink

from reasrm.types import Message
from tests.components import Redis

LEASE_S = 0.3
NUMBERS = itertools.count()


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            yield MemoryStore(lease_s=LEASE_S)
        else:
            server: Redis = request.getfixturevalue("redis_server")
            link = await stack.enter_async_context(RedisLink(server.url))
            yield RedisStore(link, lease_s=LEASE_S)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return request.node.nodeid


async def arrive(
    store: Store, name: str, key: str, member: str | None = None, size: int = 3, wait_s: float = 30.0, judge_s: float = 30.0
) -> Place:
    """Register a rollout whose text is its key."""
    arrival = Arrival(key, key.encode(), f"{key}.{member or next(NUMBERS)}", member)
    return await store.register(name, arrival, size, wait_s, judge_s)


def result_for(*keys: str) -> Result:
    pivot = Pivot(keys[0], (Message(role="assistant", content=keys[0]),), 0.5, 0.1)
    return Result({key: Reward(0.5, 0.1, None, 0.1) for key in keys}, pivot)


async def ranked(store: Store, name: str, *keys: str, size: int = 3, wait_s: float = 30.0) -> int:
    """A cohort that was ranked and whose callers all have their answers; returns its number."""
    places = [await arrive(store, name, key, size=size, wait_s=wait_s) for key in keys]
    if len(keys) < size:
        await asyncio.sleep(wait_s)
    assert await store.claim(name, places[0].number, "me") is not None
    await store.settle(name, places[0].number, result_for(*keys))
    await store.collect(name, places[0].number, [place.token for place in places])
    return places[0].number


async def test_members_of_one_cohort_are_counted_and_the_next_one_opens_another(store: Store, name: str) -> None:
    places = [await arrive(store, name, key) for key in "abcd"]
    assert [place.count for place in places] == [1, 2, 3, 1]
    assert len({place.number for place in places[:3]}) == 1
    assert places[3].number > places[0].number
    assert {place.role for place in places} == {Role.MEMBER}
    assert 29 < places[0].gather_left_s <= 30
    assert 59 < places[0].left_s <= 60


async def test_a_cohort_that_is_full_is_claimed_once_with_all_its_texts(store: Store, name: str) -> None:
    first = await arrive(store, name, "a")
    assert await store.claim(name, first.number, "early") is None
    await arrive(store, name, "b")
    await arrive(store, name, "a")
    texts = await store.claim(name, first.number, "one")
    assert sorted((texts or {}).values()) == [b"a", b"a", b"b"]
    assert await store.claim(name, first.number, "two") is None
    view = await store.look(name, first.number, {})
    assert view is not None
    assert (view.state, view.count, view.claimable) == (State.RANKING, 3, False)


async def test_a_cohort_that_is_not_full_is_claimed_when_its_time_to_gather_ends(store: Store, name: str) -> None:
    place = await arrive(store, name, "a", wait_s=0.3)
    assert await store.claim(name, place.number, "me") is None
    await asyncio.sleep(0.31)
    assert list((await store.claim(name, place.number, "me") or {}).values()) == [b"a"]


async def test_the_claim_of_a_gateway_that_died_is_taken_over_and_a_renewed_one_is_not(store: Store, name: str) -> None:
    place = await arrive(store, name, "a", size=1)
    assert await store.claim(name, place.number, "dead")
    for _ in range(3):
        await asyncio.sleep(LEASE_S / 2)
        await store.renew(name, place.number, "dead")
        assert await store.claim(name, place.number, "next") is None
    await asyncio.sleep(LEASE_S + 0.05)
    view = await store.look(name, place.number, {})
    assert view is not None
    assert view.claimable
    assert await store.claim(name, place.number, "next")


async def test_a_vacant_place_is_taken_back_by_its_text_and_an_occupied_place_is_not(store: Store, name: str) -> None:
    place = await arrive(store, name, "a")
    second = await arrive(store, name, "a")
    assert second.token != place.token
    await store.leave(name, place.number, place.token)
    again = await arrive(store, name, "a")
    assert (again.token, again.count, again.returns) == (place.token, 2, 1)
    third = await arrive(store, name, "a")
    assert third.count == 3


async def test_the_place_of_a_gateway_that_died_falls_vacant_and_a_renewed_one_does_not(store: Store, name: str) -> None:
    lost, kept = await arrive(store, name, "a"), await arrive(store, name, "b")
    for _ in range(4):
        await asyncio.sleep(LEASE_S / 2)
        await store.look(name, kept.number, {kept.token: True})
    assert (await arrive(store, name, "a")).token == lost.token
    assert (await arrive(store, name, "b")).token != kept.token


async def test_a_rollout_with_a_name_has_one_place_after_any_number_of_retries(store: Store, name: str) -> None:
    places = [await arrive(store, name, "a", member=member) for member in ("0", "1", "0")]
    assert [place.count for place in places] == [1, 2, 2]
    assert places[2].token == places[0].token


async def test_rewards_are_collected_by_place_and_the_texts_are_dropped(store: Store, name: str) -> None:
    places = [await arrive(store, name, key) for key in "aab"]
    number = places[0].number
    assert await store.texts(name, number, {places[0].token}) == {places[1].token: b"a", places[2].token: b"b"}
    await store.claim(name, number, "me")
    await store.settle(name, number, result_for("a"))
    assert await store.texts(name, number, set()) == {}
    rewards = await store.collect(name, number, [places[0].token, places[2].token])
    assert rewards == [Reward(0.5, 0.1, None, 0.1), None]
    pivot = await store.pivot(name, number)
    assert pivot == await store.pivot(name) == result_for("a").pivot
    view = await store.look(name, number, {})
    assert view is not None
    assert view.state is State.RANKED


async def test_a_caller_that_left_before_the_ranking_finds_its_place_in_the_ranked_cohort(store: Store, name: str) -> None:
    places = [await arrive(store, name, key) for key in "abc"]
    await store.leave(name, places[0].number, places[0].token)
    await store.claim(name, places[0].number, "me")
    await store.settle(name, places[0].number, result_for("a", "b", "c"))
    again = await arrive(store, name, "a")
    assert (again.role, again.number, again.token) == (Role.MEMBER, places[0].number, places[0].token)


async def test_a_text_that_was_answered_gets_the_same_reward_and_counts_in_the_next_cohort(store: Store, name: str) -> None:
    number = await ranked(store, name, "a", "b", "c")
    repeat = await arrive(store, name, "a")
    assert (repeat.role, repeat.number) == (Role.REPEAT, number)
    assert await store.reward(name, number, "a") == Reward(0.5, 0.1, None, 0.1)
    assert [(await arrive(store, name, key)).count for key in "xy"] == [2, 3]
    assert (await arrive(store, name, "z")).count == 1
    assert (await arrive(store, name, "b")).role is Role.REPEAT
    assert (await arrive(store, name, "w")).count == 3


async def test_a_whole_cohort_of_repeats_leaves_nothing_behind(store: Store, name: str) -> None:
    await ranked(store, name, "a", "b", "c")
    assert {(await arrive(store, name, key)).role for key in "abc"} == {Role.REPEAT}
    assert (await arrive(store, name, "x")).count == 1


async def test_a_rollout_is_late_after_its_cohort_closed_without_being_full(store: Store, name: str) -> None:
    number = await ranked(store, name, "a", "b", wait_s=0.4)
    late = await arrive(store, name, "x", wait_s=10)
    assert (late.role, late.number, late.count) == (Role.LATE, number, 3)
    assert (await arrive(store, name, "x", wait_s=10)).count == 3
    await store.record(name, number, "x", Reward(0.25))
    assert (await arrive(store, name, "x", wait_s=10)).role is Role.REPEAT
    assert await store.reward(name, number, "x") == Reward(0.25)
    assert (await arrive(store, name, "y", wait_s=10)).role is Role.MEMBER


async def test_a_failed_cohort_is_ranked_again_when_its_rollouts_come_back(store: Store, name: str) -> None:
    places = [await arrive(store, name, key) for key in "abc"]
    number = places[0].number
    await store.claim(name, number, "me")
    await store.settle(name, number, Result(failure=Reward(None, reason="engine_failed")))
    view = await store.look(name, number, {})
    assert view is not None
    assert (view.state, view.failures, view.failure) == (State.FAILED, 1, Reward(None, reason="engine_failed"))
    await store.leave(name, number, places[1].token)
    again = await arrive(store, name, "b")
    assert (again.number, again.token, again.failures) == (number, places[1].token, 1)
    assert sorted((await store.claim(name, number, "me") or {}).values()) == [b"a", b"b", b"c"]


async def test_a_store_reports_a_cohort_that_it_does_not_know(store: Store, name: str) -> None:
    assert await store.look(name, 1, {"x": True}) is None
    assert await store.claim(name, 1, "me") is None
    assert await store.texts(name, 1, set()) == {}
    assert await store.pivot(name) is None
    assert await store.reward(name, 1, "a") is None
    await store.leave(name, 1, "x")


async def test_a_lost_cohort_is_restored_by_the_gateways_that_have_places_in_it(store: Store, name: str) -> None:
    lost = Place(7, Role.MEMBER, "", 0, 20.0, 40.0)
    assert (await store.register(name, Arrival("c", b"c", "c.3"), 3, 30.0, 30.0, known=7)).role is Role.LOST
    assert await store.restore(name, lost, 3, {"a.1": b"a"}, ["a.1"]) == 7
    assert await store.look(name, 7, {"b.2": False}) is None
    assert await store.restore(name, lost, 3, {"b.2": b"b"}, []) == 7
    view = await store.look(name, 7, {"a.1": True, "b.2": False})
    assert view is not None
    assert (view.state, view.count, view.restored) == (State.GATHERING, 2, True)
    assert (await arrive(store, name, "b")).token == "b.2"
    place = await store.register(name, Arrival("a", b"a", "a.4"), 3, 30.0, 30.0, known=7)
    assert (place.number, place.token, place.count) == (7, "a.4", 3)
    assert 19 < place.gather_left_s <= 20
    assert sorted((await store.claim(name, 7, "me") or {}).values()) == [b"a", b"a", b"b"]


async def test_a_cohort_that_was_opened_before_a_lost_one_was_restored_is_merged_into_it(redis_server: Redis, name: str) -> None:
    async with RedisLink(redis_server.url) as link:
        store = RedisStore(link)
        opened = await arrive(store, name, "c")
        assert await store.restore(name, Place(7, Role.MEMBER, "", 0, 20.0, 40.0), 3, {"a.1": b"a"}, ["a.1"]) == 7
        assert await store.look(name, opened.number, {}) is None
        place = Place(opened.number, Role.MEMBER, "", 0, 20.0, 40.0)
        assert await store.restore(name, place, 3, {opened.token: b"c"}, [opened.token]) == 7
        assert (await arrive(store, name, "c")).token == opened.token
        assert (await arrive(store, name, "b")).count == 3
        assert sorted((await store.claim(name, 7, "me") or {}).values()) == [b"a", b"b", b"c"]


async def test_gateways_that_share_a_store_know_how_many_wait_in_all(store: Store, name: str) -> None:
    assert await store.waiting(name, "one", 3) == 3
    assert await store.waiting(name, "two", 4) == (4 if isinstance(store, MemoryStore) else 7)


async def test_two_rollouts_at_once_do_not_take_one_place(store: Store, name: str) -> None:
    places = await asyncio.gather(*(arrive(store, name, key, size=8) for key in "aaaabbbb"))
    assert len({place.token for place in places}) == 8
    assert sorted(place.count for place in places) == list(range(1, 9))


async def test_a_lost_redis_is_reported_and_gets_the_result_again(redis_factory: Callable[[], Redis], name: str) -> None:
    redis = redis_factory()
    async with RedisLink(redis.url) as link:
        store = RedisStore(link, patience_s=0.2)
        places = [await arrive(store, name, key) for key in "abc"]
        number = places[0].number
        redis.kill()
        with pytest.raises(StoreUnavailable):
            await store.settle(name, number, result_for("a", "b", "c"))
        with pytest.raises(StoreUnavailable):
            await arrive(store, name, "a")
        redis.start()
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(StoreUnavailable):
                    await store.settle(name, number, result_for("a", "b", "c"))
                    break
                await asyncio.sleep(0.05)
        assert (await arrive(store, name, "a")).role is Role.REPEAT


async def test_the_memory_that_waiting_texts_take_is_bounded_and_given_back() -> None:
    store = MemoryStore(text_bytes=10)
    for round_ in range(5):
        places = [await arrive(store, f"{round_}", "x" * 5, size=2), await arrive(store, f"{round_}", "y" * 5, size=2)]
        with pytest.raises(StoreUnavailable):
            await arrive(store, "other", "z", size=2)
        await store.claim(f"{round_}", places[0].number, "me")
        await store.settle(f"{round_}", places[0].number, Result())
