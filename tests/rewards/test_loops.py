"""The reward functions that frameworks import, over a real gateway."""

from __future__ import annotations

import asyncio
import functools
import inspect
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch.distributed as dist

from reasrm.client import SyncJudge
from reasrm.errors import GatewayError, InputError
from reasrm.rewards.slime import batched_custom_rm
from reasrm.rewards.texts import response_of
from reasrm.rewards.trl import _groups, _this_job, judge_reward
from reasrm.rewards.verl import compute_score
from tests.components import ROOT, free_port
from tests.serving.loops import ScriptedEngine, gateway

STRENGTHS = [2, 5, 1, 3]
ANSWERS = [f"answer {strength}" for strength in STRENGTHS]


def order(rewards: list[float | None]) -> list[int]:
    return sorted(range(len(rewards)), key=lambda i: rewards[i])


# --- TRL --------------------------------------------------------------------------------------------------------------------


async def test_trl_gets_a_reward_for_each_completion_of_each_group(url: str) -> None:
    metrics: dict[str, float] = {}
    prompts = ["one"] * 4 + ["two"] * 4
    rewards = await judge_reward(
        prompts, ANSWERS * 2, url=url, num_generations=4, log_metric=metrics.__setitem__, completion_ids=[[1]] * 8, log_extra=None
    )
    assert order(rewards[:4]) == order(rewards[4:]) == [2, 0, 3, 1]
    assert metrics["judge/no_verdict"] == 0.0
    assert metrics["judge/comparisons"] == 12
    assert metrics["judge/completion_tokens"] == 240
    assert "judge/order_consistency" not in metrics  # each pair was read once
    await judge_reward(prompts, ANSWERS * 2, url=url, num_generations=4, options={"orders": "both"}, log_metric=metrics.__setitem__)
    assert 0 <= metrics["judge/order_consistency"] <= 1


async def test_trl_conversations_and_references_are_read(url: str) -> None:
    prompts = [[{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]] * 4
    completions = [[{"role": "assistant", "content": answer, "thinking": "x"}] for answer in ANSWERS]
    rewards = await judge_reward(
        prompts, completions, url=url, num_generations=4, reference_column="gold", gold=["answer 2.5"] * 4, options={"scale": "raw"}
    )
    assert [reward > 0 for reward in rewards] == [False, True, False, True]
    with pytest.raises(InputError, match="gold"):
        await judge_reward(["q"], ["answer 1"], url=url, reference_column="gold")


async def test_a_group_that_straddles_ranks_is_gathered_by_the_gateway(url: str) -> None:
    ask = functools.partial(judge_reward, url=url, num_generations=4, trainer_state=SimpleNamespace(global_step=3), wait_s=20)
    prompts, logged = ["one"] * 4 + ["two"] * 4, ({}, {})
    first, second = await asyncio.gather(
        ask(prompts[:6], (ANSWERS * 2)[:6], log_metric=logged[0].__setitem__),
        ask(prompts[6:], (ANSWERS * 2)[6:], log_metric=logged[1].__setitem__),
    )
    assert order((first + second)[:4]) == order((first + second)[4:]) == [2, 0, 3, 1]
    whole, half = logged[0], logged[1]
    assert (whole["judge/comparisons"], half["judge/comparisons"]) == (6 + 3, 3), "each group counts once over all ranks"
    assert (whole["judge/completion_tokens"], half["judge/completion_tokens"]) == (120 + 60, 60)
    assert half["judge/seconds"] > 0 and half["judge/prompt_tokens"] > 0
    assert half["judge/comparisons_without_verdict"] == 0.0 <= half["judge/cached"] <= 1.0


def test_jobs_without_a_name_of_a_run_are_kept_apart() -> None:
    command = [sys.executable, "-c", "from reasrm.rewards.trl import _this_job; print(_this_job())"]
    others = {subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() for _ in range(2)}
    assert len(others | {_this_job(), _this_job()}) == 3


def test_the_ranks_of_a_job_take_the_name_that_the_first_of_them_drew() -> None:
    store = dist.HashStore()
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        shared = dist.distributed_c10d._get_default_store()
        shared.set("reasrm/run", "drawn by another rank")
        assert _this_job() == "drawn by another rank"
        shared.delete_key("reasrm/run")
        assert _this_job() == shared.get("reasrm/run").decode() != "drawn by another rank"
    finally:
        dist.destroy_process_group()


async def test_a_group_that_straddles_ranks_says_whether_its_orders_agree(url: str) -> None:
    logged: dict[str, float] = {}
    ask = functools.partial(
        judge_reward, url=url, num_generations=4, wait_s=20, options={"orders": "both"}, log_metric=logged.__setitem__
    )
    await asyncio.gather(*(ask(["q"], [answer]) for answer in ANSWERS))
    assert 0.0 <= logged["judge/order_consistency"] <= 1.0


@pytest.mark.parametrize(
    ("prompts", "size", "groups"),
    [
        ("aaaabbbb", 4, [4, 4]),
        ("aabbbbcc", 4, [2, 4, 2]),
        ("aaaaaa", 4, [2, 4]),
        ("abbbbbbbb", 4, [1, 4, 4]),
        ("aaabbb", None, [3, 3]),
    ],
)
def test_slices_are_cut_where_groups_end(prompts: str, size: int | None, groups: list[int]) -> None:
    assert [len(members) for members in _groups(list(prompts), [None] * len(prompts), size)] == groups


async def test_an_absent_gateway_gives_none_and_stops_nothing() -> None:
    metrics: dict[str, float] = {}
    away = functools.partial(judge_reward, url="http://127.0.0.1:9", timeout_s=1)
    rewards = await away(["q"] * 4, ANSWERS, num_generations=4, log_metric=metrics.__setitem__)
    assert rewards == [None] * 4
    assert metrics["judge/no_verdict"] == metrics["judge/no_verdict/engine_failed"] == 1.0


async def test_a_gateway_that_starts_late_costs_no_reward(engine: ScriptedEngine, tmp_path: Path) -> None:
    port = free_port()
    call = judge_reward(["q"] * 4, ANSWERS, url=f"http://127.0.0.1:{port}", num_generations=4)
    waiting = asyncio.create_task(call)
    await asyncio.sleep(0.5)
    with gateway(engine, tmp_path, at=port):
        assert order(await waiting) == [2, 0, 3, 1]


def test_the_reward_can_be_pickled_and_is_seen_to_be_async() -> None:
    reward = functools.partial(judge_reward, url="http://127.0.0.1:9", num_generations=4)
    assert inspect.iscoroutinefunction(reward)
    assert pickle.loads(pickle.dumps(reward)).keywords == reward.keywords


def test_a_rollout_is_rewarded_without_async_too(url: str) -> None:
    with SyncJudge(url) as judge:
        result = judge.reward("q", "answer 4", cohort=2, reference="answer 1", wait_s=0.3)
    assert result.reward is not None and result.reward > 0
    assert result.totals is not None and (result.totals.responses, result.totals.comparisons) == (1, 2)


# --- slime and verl ---------------------------------------------------------------------------------------------------------


def sample(response: str, group: int, **more: Any) -> SimpleNamespace:
    return SimpleNamespace(prompt="q", response=response, label=None, group_index=group, metadata={}, remove_sample=False, **more)


async def test_slime_gets_floats_for_whole_groups(url: str) -> None:
    samples = [sample(answer, group) for group in (0, 1) for answer in ANSWERS]
    rewards = await batched_custom_rm(SimpleNamespace(rm_url=url), samples)
    assert order(rewards[:4]) == order(rewards[4:]) == [2, 0, 3, 1]
    assert not any(member.remove_sample for member in samples)


async def test_slime_samples_without_verdict_are_taken_out_of_the_loss() -> None:
    samples = [sample(answer, 0) for answer in ANSWERS]
    rewards = await batched_custom_rm(SimpleNamespace(rm_url="http://127.0.0.1:9", reasrm_timeout_s=1), samples)
    assert rewards == [0.0] * 4
    assert all(member.remove_sample and "no gateway answers" in member.metadata["no_verdict"] for member in samples)


async def test_verl_scores_one_rollout_at_a_time_through_cohorts(url: str) -> None:
    ask = functools.partial(compute_score, url=url, cohort=4, run="r", wait_s=20)
    info = {"prompt": [{"role": "user", "content": "Which?"}], "global_step": 2}
    results = await asyncio.gather(*(ask("set", answer, "answer 9", info) for answer in ANSWERS))
    assert order([result["score"] for result in results]) == [2, 0, 3, 1]
    assert all(result["judged"] == 1.0 for result in results)


async def test_verl_gets_a_neutral_float_and_a_flag_where_there_is_no_verdict(url: str) -> None:
    alone = functools.partial(compute_score, "set", "answer 1", None, {"question": "q"}, url=url, cohort=2, wait_s=0.2)
    assert await alone() == {"score": 0.0, "judged": 0.0}
    with pytest.raises(GatewayError, match="alone"):
        await alone(no_verdict="error")
    ask = functools.partial(compute_score, "set", "answer 1", None, {"question": "q"}, cohort=2)
    away = functools.partial(ask, url="http://127.0.0.1:9", timeout_s=1)
    assert await away() == {"score": 0.0, "judged": 0.0}
    with pytest.raises(GatewayError, match="no gateway answers"):
        await away(no_verdict="error")


async def test_a_row_that_the_gateway_refuses_does_not_end_verls_job(url: str) -> None:
    refused = functools.partial(compute_score, "set", "answer 1", None, {"prompt": [{"role": "robot", "content": "q"}]}, url=url)
    assert await refused(cohort=2) == {"score": 0.0, "judged": 0.0}
    with pytest.raises(InputError, match="role"):
        await refused(cohort=2, no_verdict="error")


async def test_verl_says_what_is_missing(url: str) -> None:
    with pytest.raises(InputError, match="cohort"):
        await compute_score("set", "answer 1", None, {"prompt": "q"}, url=url)
    with pytest.raises(InputError, match="extra_info"):
        await compute_score("set", "answer 1", None, {}, url=url, cohort=2)
    with pytest.raises(InputError, match="no_verdict"):
        await compute_score("set", "answer 1", None, {"question": "q"}, url=url, cohort=2, no_verdict="zero")


def test_completions_come_in_many_shapes() -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    turns = [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "name": "f", "content": "2"}]
    answer = response_of([*turns, {"role": "assistant", "content": [{"type": "text", "text": "two"}]}])
    assert answer[0]["tool_calls"] == [{"name": "f", "arguments": '{"x": 1}'}]
    assert answer[-1]["content"] == "two"
    assert response_of(turns)[-1] == {"role": "assistant", "content": "(the response is empty)"}  # truncated after its tool
    assert response_of("  ") == response_of([{"role": "assistant", "content": ""}]) == "(the response is empty)"
