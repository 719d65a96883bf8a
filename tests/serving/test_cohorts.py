"""Cohorts: rollouts that arrive singly get group rewards, also when some are late, lost or repeated, or a server restarts."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from reasrm_serving.cohorts.result import Terms

from reasrm.judging.group import RankOptions
from reasrm.judging.swiss import readings_needed
from reasrm.types import Message
from tests.components import Redis
from tests.serving.loops import ScriptedEngine, gateway, serving

STRENGTHS = [2, 5, 1, 3]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=40, trust_env=False, limits=httpx.Limits(max_connections=600)) as http:
        yield http


async def ask(client: httpx.AsyncClient, url: str, answer: Any, prompt: str = "Which is largest?", **query: Any) -> Any:
    """One rollout through slime's contract; returns the whole body, with the reward under "score"."""
    body = {"prompt": prompt, "response": f"answer {answer}", "label": "answer 3"}
    query = {"cohort": 4, "key": "score", "no_verdict": "null"} | query
    response = await client.post(f"{url}/remote_rm", json=body, params=query)
    assert response.status_code == 200, response.text
    return response.json()


async def ask_until_answered(client: httpx.AsyncClient, url: str, answer: Any, **query: Any) -> Any:
    """The same by a client that obeys 503 and Retry-After; fails where a 503 has none."""
    while True:
        try:
            return await ask(client, url, answer, **query)
        except AssertionError as refusal:
            if '"cohorts_unavailable"' not in str(refusal) and '"waiting"' not in str(refusal):
                raise
            await asyncio.sleep(1)


async def ask_all(client: httpx.AsyncClient, urls: list[str], answers: list[Any], **query: Any) -> list[float | None]:
    requests = (ask(client, urls[i % len(urls)], answer, **query) for i, answer in enumerate(answers))
    return [body["score"] for body in await asyncio.gather(*requests)]


async def test_each_caller_gets_its_own_reward_of_the_group(client: httpx.AsyncClient, url: str) -> None:
    rewards = await ask_all(client, [url], STRENGTHS)
    assert sorted(STRENGTHS, key=lambda strength: rewards[STRENGTHS.index(strength)]) == [1, 2, 3, 5]
    assert all(-1 < reward < 1 for reward in rewards)


async def test_the_rewards_are_those_of_the_group_ranked_at_once(client: httpx.AsyncClient, url: str) -> None:
    rewards = await ask_all(client, [url], STRENGTHS)
    body = {"question": "Which is largest?", "responses": [f"answer {strength}" for strength in STRENGTHS], "method": "all_pairs"}
    ranked = (await client.post(f"{url}/v1/rank", json=body)).json()["rewards"]
    assert rewards == pytest.approx(ranked, abs=1e-6)
    assert await ask_all(client, [url], STRENGTHS[::-1]) == pytest.approx(ranked[::-1], abs=1e-12)  # in every order


async def test_comparisons_start_before_the_cohort_is_full(client: httpx.AsyncClient, url: str, engine: ScriptedEngine) -> None:
    early = [asyncio.create_task(ask(client, url, strength)) for strength in (2, 5, 1)]
    async with asyncio.timeout(15):
        while engine.calls < 3:
            await asyncio.sleep(0.02)
    assert not any(task.done() for task in early)
    await ask(client, url, 3)
    await asyncio.gather(*early)
    assert engine.calls == 6


MANY = [2.0, 5.5, 1.0, 3.0, 4.0, 0.5, 6.0, 2.5, 4.5, 1.5, 3.5, 5.0]


async def test_large_cohorts_start_early_too_and_cost_and_reward_the_same(
    client: httpx.AsyncClient, url: str, engine: ScriptedEngine
) -> None:
    early = [asyncio.create_task(ask(client, url, strength, cohort=12)) for strength in MANY[:-1]]
    async with asyncio.timeout(15):
        while engine.calls < 6:
            await asyncio.sleep(0.02)
    assert not any(task.done() for task in early)
    last = await ask(client, url, MANY[-1], cohort=12)
    rewards = [body["score"] for body in (*await asyncio.gather(*early), last)]
    assert engine.calls == readings_needed(12)
    ranked = await client.post(f"{url}/v1/rank", json={"question": "Which is largest?", "responses": [f"answer {x}" for x in MANY]})
    assert rewards == pytest.approx(ranked.json()["rewards"], abs=0.15)  # the order of the group breaks their ties
    assert engine.calls < 1.5 * readings_needed(12), "most comparisons are the same"


async def test_responses_at_two_gateways_are_compared_before_all_are_there(
    client: httpx.AsyncClient, engine: ScriptedEngine, tmp_path: Path, redis_server: Redis
) -> None:
    with gateway(engine, tmp_path, cache=redis_server.url) as one, gateway(engine, tmp_path, cache=redis_server.url) as two:
        early = [asyncio.create_task(ask(client, address, strength)) for address, strength in ((one, 2), (two, 5), (one, 1))]
        async with asyncio.timeout(15):
            while engine.calls < 3:  # one comparison is within a gateway
                await asyncio.sleep(0.02)
        assert not any(task.done() for task in early)
        await ask(client, two, 3)
        await asyncio.gather(*early)
        assert engine.calls == 6


async def test_runs_and_prompts_do_not_share_cohorts(client: httpx.AsyncClient, url: str) -> None:
    one, two, three = await asyncio.gather(
        ask_all(client, [url], STRENGTHS, run="a"),
        ask_all(client, [url], STRENGTHS, run="b"),
        ask_all(client, [url], [strength + 100 for strength in STRENGTHS], prompt="Which is smallest?"),
    )
    assert one == two
    assert None not in three


async def test_at_the_deadline_the_present_rollouts_are_ranked_and_late_ones_meet_their_pivot(
    client: httpx.AsyncClient, url: str
) -> None:
    came = await ask_all(client, [url], [2, 5, 1], wait=1.0)
    assert came[1] > came[0] > came[2]
    late = (await ask(client, url, 4, wait=1.0))["score"]
    assert came[0] < late < came[1]
    whole = await ask_all(client, [url], [2, 5, 1, 4], wait=10)  # the cohort is free for the next round
    assert None not in whole


async def test_a_lone_response_gets_the_reference_or_the_last_pivot_or_null(client: httpx.AsyncClient, url: str) -> None:
    alone = await ask(client, url, 4, wait=0.3)
    assert alone["score"] is None
    assert alone["no_verdict"] == "alone"
    against = await ask(client, url, 4, prompt="another", wait=0.3, reference="label")
    assert against["score"] > 0.1
    await ask_all(client, [url], [2, 5, 1, 3], prompt="third", wait=1.5)
    later = await ask(client, url, 4, prompt="third", wait=1.5)
    assert later["score"] > 0


async def test_a_cohort_of_equal_responses_is_answered(client: httpx.AsyncClient, url: str, engine: ScriptedEngine) -> None:
    assert await ask_all(client, [url], [3, 3, 3, 3]) == [None] * 4
    assert await ask_all(client, [url], [3, 3, 3, 3], no_verdict="mean") == [0.0] * 4
    assert engine.calls == 0


async def test_equal_responses_share_a_reward(client: httpx.AsyncClient, url: str) -> None:
    rewards = await ask_all(client, [url], [3, 5, 3, 1])
    assert rewards[0] == rewards[2]
    assert rewards[1] > rewards[0] > rewards[3]


async def test_callers_that_hang_up_change_nothing_for_the_others(client: httpx.AsyncClient, url: str) -> None:
    quiet = await ask_all(client, [url], STRENGTHS, run="quiet")
    leaving = [asyncio.create_task(ask(client, url, strength, run="loud")) for strength in STRENGTHS[:2]]
    await asyncio.sleep(0.5)
    for task in leaving:
        task.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    rest = await ask_all(client, [url], STRENGTHS[2:], run="loud")
    assert rest == quiet[2:]


async def test_a_retry_after_a_lost_connection_finds_its_place(client: httpx.AsyncClient, url: str) -> None:
    quiet = await ask_all(client, [url], STRENGTHS, run="quiet")
    first = asyncio.create_task(ask(client, url, 2, run="again"))
    await asyncio.sleep(0.5)
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first
    await asyncio.sleep(0.5)  # the gateway sees the closed connection
    assert await ask_all(client, [url], STRENGTHS, run="again") == quiet


async def test_a_retry_at_another_gateway_finds_its_place(
    client: httpx.AsyncClient, engine: ScriptedEngine, tmp_path: Path, redis_server: Redis
) -> None:
    with gateway(engine, tmp_path, cache=redis_server.url) as one, gateway(engine, tmp_path, cache=redis_server.url) as two:
        expected = await ask_all(client, [one, two], STRENGTHS, run="quiet")
        first = asyncio.create_task(ask(client, one, 2, wait=10))
        await asyncio.sleep(0.5)
        first.cancel()
        await asyncio.sleep(0.5)  # the gateway sees the closed connection
        again = asyncio.create_task(ask(client, two, 2, wait=10))
        await asyncio.sleep(0.5)
        rest = await ask_all(client, [one, two], STRENGTHS[1:], wait=10)
        assert [(await again)["score"], *rest] == pytest.approx(expected, abs=1e-12)


async def test_an_engine_that_fails_for_good_gives_null_with_its_reason(
    client: httpx.AsyncClient, url: str, engine: ScriptedEngine
) -> None:
    await ask_all(client, [url], STRENGTHS, run="before")
    engine.down = True
    bodies = await asyncio.gather(*(ask(client, url, strength + 0.5, timeout=4, wait=2) for strength in STRENGTHS))
    assert [body["score"] for body in bodies] == [None] * 4
    assert {body["no_verdict"] for body in bodies} <= {"engine_failed", "deadline"}


async def test_two_gateways_rank_a_cohort_once(
    client: httpx.AsyncClient, engine: ScriptedEngine, tmp_path: Path, redis_server: Redis
) -> None:
    with gateway(engine, tmp_path, cache=redis_server.url) as one, gateway(engine, tmp_path, cache=redis_server.url) as two:
        rewards = await ask_all(client, [one, two], STRENGTHS)
        assert engine.calls == 6
        assert sorted(STRENGTHS, key=lambda strength: rewards[STRENGTHS.index(strength)]) == [1, 2, 3, 5]
        late = [asyncio.create_task(ask(client, one, strength, prompt="late", wait=1.5)) for strength in (2, 5, 1)]
        await asyncio.gather(*late)
        body = await ask(client, two, 4, prompt="late", wait=1.5)
        assert body["score"] is not None


async def test_a_gateway_that_dies_leaves_no_cohort_hanging(
    client: httpx.AsyncClient, engine: ScriptedEngine, tmp_path: Path, redis_server: Redis
) -> None:
    with gateway(engine, tmp_path, cache=redis_server.url) as quiet:
        expected = await ask_all(client, [quiet], STRENGTHS, run="quiet")
    with gateway(engine, tmp_path, cache=redis_server.url) as two:
        with gateway(engine, tmp_path, cache=redis_server.url) as one:
            lost = [asyncio.create_task(ask(client, one, strength)) for strength in STRENGTHS[:2]]
            await asyncio.sleep(0.5)
        await asyncio.gather(*lost, return_exceptions=True)
        assert await ask_all(client, [two], STRENGTHS[2:]) == expected[2:]


async def test_while_redis_is_away_cohorts_answer_503_and_a_retry_gets_its_reward(
    client: httpx.AsyncClient, engine: ScriptedEngine, tmp_path: Path, redis_factory: Callable[[], Redis]
) -> None:
    redis = redis_factory()
    with gateway(engine, tmp_path, cache=redis.url) as one, gateway(engine, tmp_path, cache=redis.url) as two:
        expected = await ask_all(client, [one, two], STRENGTHS, run="quiet")
        early = [asyncio.create_task(ask_until_answered(client, at, strength, wait=20)) for at, strength in ((one, 2), (two, 5))]
        await asyncio.sleep(0.5)
        redis.kill()
        body = {"prompt": "Which is largest?", "response": "answer 1"}
        refusal = await client.post(f"{one}/remote_rm?cohort=4&hold=0", json=body)
        assert (refusal.status_code, refusal.json()["error"]["type"]) == (503, "cohorts_unavailable")
        assert int(refusal.headers["retry-after"]) >= 1
        redis.start()
        late = [asyncio.create_task(ask_until_answered(client, at, strength, wait=20)) for at, strength in ((one, 1), (two, 3))]
        scores = [body["score"] for body in await asyncio.gather(*early, *late)]
        assert scores == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("vanishing", [0, 1], ids=["all stay", "one vanishes"])
async def test_redis_restarting_while_a_cohort_gathers_costs_no_reward(
    client: httpx.AsyncClient, engine: ScriptedEngine, tmp_path: Path, redis_factory: Callable[[], Redis], vanishing: int
) -> None:
    redis = redis_factory()
    with gateway(engine, tmp_path, cache=redis.url) as one, gateway(engine, tmp_path, cache=redis.url) as two:
        expected = await ask_all(client, [one, two], STRENGTHS, run="quiet")
        early = [asyncio.create_task(ask(client, address, strength, wait=8)) for address, strength in ((one, 2), (two, 5))]
        await asyncio.sleep(0.5)
        if vanishing:
            early[0].cancel()
            await asyncio.sleep(0.5)  # the gateway sees the closed connection
        redis.kill()
        redis.start()
        rest = await ask_all(client, [one, two], STRENGTHS[2:], wait=8)
        scores = [body["score"] for body in await asyncio.gather(*early[vanishing:])] + rest
        assert scores == pytest.approx(expected[vanishing:], abs=1e-12)


async def test_a_retry_gets_the_same_reward_at_once(client: httpx.AsyncClient, url: str, engine: ScriptedEngine) -> None:
    rewards = await ask_all(client, [url], STRENGTHS)
    judgments, started = engine.calls, time.monotonic()
    again = [(await ask(client, url, strength, wait=10))["score"] for strength in STRENGTHS]
    assert again == rewards
    assert time.monotonic() - started < 5, "no rollout waits for the others"
    assert await ask_all(client, [url], STRENGTHS) == rewards
    assert engine.calls == judgments


async def test_a_second_epoch_with_one_equal_text_is_ranked_whole(client: httpx.AsyncClient, url: str) -> None:
    rewards = await ask_all(client, [url], STRENGTHS)
    started = time.monotonic()
    second = await ask_all(client, [url], [2, 7, 8, 9], wait=20)
    assert second[0] == rewards[0]
    assert second[1] < second[2] < second[3]
    assert time.monotonic() - started < 10, "no rollout waits for a fourth"


async def test_a_late_rollout_waits_no_longer_than_its_own_time(
    client: httpx.AsyncClient, url: str, engine: ScriptedEngine
) -> None:
    await ask_all(client, [url], STRENGTHS, prompt="warm")
    engine.pause_s = 0.8
    terms = {"cohort": 3, "wait": 0.2, "timeout": 1.2, "hold": 0, "run": "slow"}
    in_time = [asyncio.create_task(ask(client, url, strength, **terms)) for strength in (2, 5)]
    await asyncio.sleep(0.3)
    started = time.monotonic()
    await ask(client, url, 3, **terms)
    assert time.monotonic() - started < 1.45
    await asyncio.gather(*in_time)


async def test_two_gateways_with_different_judges_share_no_cohort(
    client: httpx.AsyncClient, engine: ScriptedEngine, tmp_path: Path, redis_server: Redis
) -> None:
    other = ScriptedEngine(version="v2")
    with (
        serving(other.app) as other.url,
        gateway(engine, tmp_path, cache=redis_server.url) as one,
        gateway(other, tmp_path, cache=redis_server.url) as two,
    ):
        alone = await asyncio.gather(ask(client, one, 1, cohort=2, wait=1), ask(client, two, 5, cohort=2, wait=1))
        assert [body["no_verdict"] for body in alone] == ["alone", "alone"]
        assert None not in await ask_all(client, [one], [1, 5], cohort=2, run="same judge")


async def test_a_rollout_that_is_judged_alone_is_counted_and_reported_once_per_run(
    client: httpx.AsyncClient, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    for prompt in ("one", "two"):
        assert (await ask(client, url, 1, prompt=prompt, run="lonely", wait=0.2))["no_verdict"] == "alone"
    warnings = [message for message in caplog.messages if "run 'lonely'" in message]
    assert len(warnings) == 1
    assert "1 of the 4 rollouts" in warnings[0]
    assert "Is cohort=4 the number of samples per prompt" in warnings[0]
    assert 'reasrm_cohorts_total{end="lone"} 2.0' in (await client.get(f"{url}/metrics")).text


async def test_the_mean_of_a_group_counts_each_rollout_and_not_each_text(client: httpx.AsyncClient, url: str) -> None:
    bodies = [{"question": "Which?", "response": f"answer {strength}", "cohort": 4} for strength in (1, 1, 1, 5)]
    answers = await asyncio.gather(*(client.post(f"{url}/v1/reward", json=body) for body in bodies))
    rewards = [answer.json()["reward"] for answer in answers]
    assert answers[0].json()["mean"] == pytest.approx(sum(rewards) / 4)


def test_groups_that_their_caller_names_are_told_apart() -> None:
    question = (Message(role="user", content="Say hello."),)
    names = {Terms(question, 2, RankOptions(), group_id=group).name(judge) for group in ("g0", "g1") for judge in ("one", "two")}
    assert len(names) == 4
