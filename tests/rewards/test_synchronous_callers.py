"""Reward functions for callers that do not await, or that start an event loop per step."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from reasrm_serving.auth.gate import hashed
from trl.experimental.a2po import A2POTrainer
from trl.experimental.online_dpo import OnlineDPOTrainer
from trl.experimental.sdpo import SDPOTrainer

from reasrm.errors import ConfigurationError, InputError
from reasrm.rewards.trl import judge_reward, judge_reward_sync
from reasrm.rewards.verl import compute_score_sync
from tests.components import ROOT
from tests.documents import at, blocks_of
from tests.serving.loops import ScriptedEngine, gateway

STRENGTHS = [2, 5, 1, 3]
ANSWERS = [f"answer {strength}" for strength in STRENGTHS]


def trainer(reward: Any) -> SimpleNamespace:
    """The attributes of a trainer that the trainers' own reward code reads."""
    accelerator = SimpleNamespace(device=torch.device("cpu"), gather=lambda tensor: tensor)
    weights = torch.ones(1)
    fields = {"reward_funcs": [reward], "reward_processing_classes": [None], "state": SimpleNamespace(global_step=1)}
    return SimpleNamespace(accelerator=accelerator, reward_weights=weights, **fields)


def test_online_dpo_gets_the_better_one_of_two_per_prompt(url: str) -> None:
    mine = trainer(functools.partial(judge_reward_sync, url=url, num_generations=2))
    prompts, completions = ["one", "two", "three"] * 2, [f"answer {number}" for number in (1, 9, 5, 2, 8, 6)]
    rewards = OnlineDPOTrainer._calculate_rewards_from_functions(mine, prompts, completions, [[1]] * 6)
    assert [bool(rewards[i] < rewards[i + 3]) for i in range(3)] == [True, False, True]


def test_sdpo_gets_rewards_for_groups(url: str) -> None:
    mine = trainer(functools.partial(judge_reward_sync, url=url, num_generations=4))
    rewards = SDPOTrainer._calculate_rewards(mine, [{"prompt": "q"}] * 4, ["q"] * 4, ANSWERS, [[1]] * 4)
    assert rewards.flatten().argsort().tolist() == [2, 0, 3, 1]


def test_a2po_gets_numbers_only(url: str, engine: ScriptedEngine) -> None:
    def binary(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        where = {"url": url, "num_generations": 4, "reference_column": "gold"}
        return [float(reward > 0) for reward in judge_reward_sync(prompts, completions, no_verdict=0.0, **where, **columns)]

    rewards = A2POTrainer._calculate_rewards(trainer(binary), ["q"] * 4, ANSWERS, gold=["answer 2.5"] * 4)
    assert rewards.tolist() == [0.0, 1.0, 0.0, 1.0]
    engine.down = True
    away = functools.partial(judge_reward_sync, url=url, num_generations=4, timeout_s=2.0, no_verdict=0.0)
    assert A2POTrainer._calculate_rewards(trainer(away), ["other"] * 4, ANSWERS).tolist() == [0.0] * 4


async def test_the_blocking_client_works_inside_a_running_event_loop(url: str) -> None:
    rewards = judge_reward_sync(["q"] * 4, ANSWERS, url=url, num_generations=4)
    assert sorted(range(4), key=lambda i: rewards[i] or 0.0) == [2, 0, 3, 1]


def test_verls_remote_manager_gets_rewards_from_plain_calls(url: str) -> None:
    info = {"question": "Which?"}

    def score(text: str) -> dict[str, float]:
        return compute_score_sync(data_source="set", solution_str=text, ground_truth=None, extra_info=dict(info), url=url, cohort=4)

    with ThreadPoolExecutor(4) as pool:  # upstream has one worker process per call
        scores = list(pool.map(score, ANSWERS))
    assert sorted(range(4), key=lambda i: scores[i]["score"]) == [2, 0, 3, 1]


def test_one_event_loop_per_step_leaves_no_socket_open(url: str) -> None:
    def step(number: int) -> None:
        rewards = asyncio.run(judge_reward([f"q{number}"] * 2, ["answer 1", "answer 2"], url=url, num_generations=2))
        assert rewards[0] < rewards[1]

    step(0)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(1, 21):
        step(number)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 4


def test_the_plugin_of_the_ms_swift_guide_judges_in_one_event_loop_per_step(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    [block] = [block for block in blocks_of(ROOT / "docs/guide/ms-swift.md") if block.title == "reasrm_plugin.py"]
    rewards = ModuleType("swift.rewards")  # ms-swift is not installed here; it calls the plugin as below
    rewards.AsyncORM, rewards.orms = type("AsyncORM", (), {}), {}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "swift", ModuleType("swift"))
    monkeypatch.setitem(sys.modules, "swift.rewards", rewards)
    exec(compile(at(block.text, url).replace("num_generations=8", "num_generations=4"), block.name, "exec"), {"__name__": "plugin"})
    function = rewards.orms["reasrm"]()
    messages = [[{"role": "user", "content": "q"}, {"role": "assistant", "content": answer}] for answer in ANSWERS]
    for _ in range(2):
        scores = asyncio.run(function(list(ANSWERS), messages=messages, solution=[None] * 4))
        assert sorted(range(4), key=scores.__getitem__) == [2, 0, 3, 1]


def test_a_child_process_has_connections_of_its_own(url: str) -> None:
    judge_reward_sync(["q"] * 4, ANSWERS, url=url, num_generations=4)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            rewards = judge_reward_sync(["q"] * 4, ANSWERS, url=url, num_generations=4)
            os.write(writer, b"rewarded" if rewards[0] is not None else b"nothing")
        finally:
            os._exit(0)
    os.close(writer)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(reader, 100) == b"rewarded"
    os.close(reader)


OPTIONS = [
    {},
    {"orders": "both"},
    {"method": "circle", "scale": "raw"},
    {"rubric": "1. Larger is better", "votes": 3, "temperature": 1.0},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
async def test_rewards_and_prompts_do_not_depend_on_the_layout_of_ranks(
    url: str, engine: ScriptedEngine, options: dict[str, Any]
) -> None:
    async def layout(*slices: list[str]) -> list[float | None]:
        reward = functools.partial(judge_reward, url=url, num_generations=4, run=str(len(slices)), wait_s=20, options=options)
        parts = await asyncio.gather(*(reward(["q"] * len(part), part) for part in slices))
        return [value for part in parts for value in part]

    whole = await layout(ANSWERS)
    seen = len(engine.conversations)
    assert await layout(ANSWERS[:1], ANSWERS[1:]) == pytest.approx(whole)
    assert len(engine.conversations) == seen, "every comparison was cached: the pairs are the same"


@pytest.mark.parametrize(
    "wrong",
    [
        {"options": {"methd": "circle"}},
        {"options": {"orders": "ba"}},
        {"options": {"votes": 0}},
        {"num_generation": 4},
        {"num_generations": 65},
    ],
    ids=str,
)
def test_a_mistake_in_the_set_up_raises(wrong: dict[str, Any], url: str) -> None:
    with pytest.raises(InputError):
        judge_reward_sync(["q"] * 2, ["answer 1", "answer 2"], **{"url": url, "num_generations": 2} | wrong)


def test_a_wrong_key_or_address_raises(engine: ScriptedEngine, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[[key]]\nname = "team"\nsha256 = "{hashed("rrm_right")}"\n')
    with gateway(engine, tmp_path, keys=keys) as url:
        for wrong in ({"url": url, "token": "rrm_wrong"}, {"url": f"{url}/v1/judge"}, {"url": "nowhere"}):
            with pytest.raises(InputError):
                judge_reward_sync(["q"] * 2, ["answer 1", "answer 2"], num_generations=2, **wrong)
        with pytest.raises(ConfigurationError):
            compute_score_sync("set", "answer 1", None, {"question": "q"}, url=url, cohort=2, token="rrm_wrong")
