"""Groups over HTTP: the wire, the cache behind it, the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from reasrm.client import Judge
from reasrm.errors import InputError
from reasrm.types import Ranking
from tests.serving.loops import ScriptedEngine, gateway

ANSWERS = ["answer 2", "answer 5", "answer 1", "answer 3"]


async def test_a_group_gets_rewards_an_order_and_its_comparisons(url: str) -> None:
    async with Judge(url) as judge:
        result = await judge.rank("Which is largest?", ANSWERS)
    assert result.order == (1, 3, 0, 2)
    assert all(reward is not None and -1 < reward < 1 for reward in result.rewards)
    assert result.comparisons[0].judgment.opinions[0].reading.rubric is not None
    assert result.usage.completion_tokens == 20 * len(result.comparisons)


async def test_the_same_group_again_asks_the_engine_nothing(url: str, engine: ScriptedEngine) -> None:
    async with Judge(url) as judge:
        first = await judge.rank("Which is largest?", ANSWERS)
        before = engine.calls
        again = await judge.rank("Which is largest?", ANSWERS)
    assert engine.calls == before == len(first.comparisons)
    assert again.rewards == first.rewards
    assert all(comparison.judgment.cached for comparison in again.comparisons)


async def test_every_method_and_option_travels_over_the_wire(url: str) -> None:
    async with Judge(url) as judge:
        result = await judge.rank(
            "q", ANSWERS, reference="answer 3", method="pivot", orders="both", scale="raw", budget={"comparisons": 6}, replies=False
        )
    assert result.method == "pivot"
    assert len(result.comparisons) == 3
    assert result.rewards[3] == 0.0  # equals the reference
    opinions = [opinion for comparison in result.comparisons for opinion in comparison.judgment.opinions]
    assert {opinion.order for opinion in opinions} == {"ab", "ba"}
    assert {opinion.reply for opinion in opinions} == {""}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"responses": []}, "responses"),
        ({"responses": ["a"] * 65}, "responses"),
        ({"method": "elo"}, "method"),
        ({"budget": {}}, "budget"),
        ({"colour": "red"}, "colour"),
        ({"votes": 3}, None),
    ],
)
def test_a_bad_request_gets_the_name_of_the_wrong_field(url: str, change: dict, field: str | None) -> None:
    answer = httpx.post(f"{url}/v1/rank", json={"question": "q", "responses": ["a", "b"]} | change)
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == field


async def test_a_group_of_one_is_answered_with_null(url: str) -> None:
    answer = httpx.post(f"{url}/v1/rank", json={"question": "q", "responses": ["answer 1"]})
    assert answer.status_code == 200
    assert answer.json()["rewards"] == [None]
    body = {name: value for name, value in answer.json().items() if name != "rewards"}
    assert Ranking.model_validate(body).comparisons == ()


async def test_an_engine_that_comes_back_before_the_deadline_costs_no_reward(url: str, engine: ScriptedEngine) -> None:
    import asyncio

    engine.down = True
    async with Judge(url) as judge:
        ranking = asyncio.create_task(judge.rank("q", ANSWERS))
        await asyncio.sleep(1.0)
        engine.down = False
        result = await ranking
        quiet = await judge.rank("q", ANSWERS)
    assert result.rewards == quiet.rewards
    assert None not in result.rewards


async def test_an_engine_that_stays_away_gives_null_in_time(engine: ScriptedEngine, tmp_path: Path) -> None:
    with gateway(engine, tmp_path, timeout_s=1.5) as url:
        engine.down = True
        async with Judge(url) as judge:
            result = await judge.rank("q", ANSWERS)
    assert result.rewards == [None] * 4
    assert result.order == ()


def test_the_command_prints_a_table_or_json(url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "reasrm.cli", "rank", "--url", url]
    shown = subprocess.run([*command, "q", *ANSWERS], capture_output=True, text=True, timeout=60, check=True).stdout
    assert shown.index("answer 5") < shown.index("answer 3") < shown.index("answer 1")
    file = tmp_path / "group.json"
    file.write_text(json.dumps({"question": "q", "responses": ANSWERS}))
    printed = subprocess.run(
        [*command, "--file", str(file), "--json"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert json.loads(printed)["order"] == [1, 3, 0, 2]
    wrong = subprocess.run([*command, "--method", "elo", "q", "a", "b"], capture_output=True, text=True, timeout=60)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("reasrm: --method")
    assert "Traceback" not in wrong.stderr


async def test_the_client_reports_a_callers_mistake_in_one_line(url: str) -> None:
    async with Judge(url) as judge:
        with pytest.raises(InputError, match="method"):
            await judge.rank("q", ANSWERS, method="elo")
