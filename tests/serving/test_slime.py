"""slime's own request code against a real gateway."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from tests.serving.clients import SlimeRm
from tests.serving.loops import ScriptedEngine

STRENGTHS = [2, 5, 1, 3]
CHATML = "<|im_start|>user\nWhich is largest?<|im_end|>\n<|im_start|>assistant\n"


async def test_slime_reads_a_number_or_the_key_it_names(url: str) -> None:
    texts = [SimpleNamespace(prompt=CHATML, response=f"answer {strength}<|im_end|>", label={"x": [1]}) for strength in STRENGTHS]
    messages = [
        SimpleNamespace(**vars(sample) | {"prompt": [{"role": "user", "content": "Which is largest?"}]}) for sample in texts
    ]
    async with SlimeRm(f"{url}/remote_rm?cohort=4") as slime:
        numbers = await slime.rewards(texts)
    async with SlimeRm(f"{url}/remote_rm?cohort=4&key=score", reward_key="score") as slime:
        keyed = await slime.rewards(messages)
    assert all(isinstance(number, float) for number in numbers)
    assert keyed == pytest.approx(numbers)


@pytest.mark.parametrize(("label", "shown"), [(7, "7"), (2.5, "2.5"), (True, "true"), ("answer 7", "answer 7")])
async def test_a_label_that_is_a_number_is_a_reference_too(url: str, engine: ScriptedEngine, label: Any, shown: str) -> None:
    async with SlimeRm(f"{url}/remote_rm?reference=label") as slime:
        [reward] = await slime.rewards([SimpleNamespace(prompt="Q", response="answer 1", label=label)])
    assert isinstance(reward, float)
    assert any(f"\n{shown}\n" in text for text in engine.texts)
    body = {"prompt": "Q", "response": "answer 1", "label": {"answer": label}}
    assert "texts or numbers" in httpx.post(f"{url}/remote_rm?reference=label", json=body).text


async def test_slime_waits_out_an_engine_that_is_away_for_seconds(url: str, engine: ScriptedEngine) -> None:
    httpx.get(f"{url}/v1/models")
    engine.down = True
    samples = [SimpleNamespace(prompt="Q", response=f"answer {strength}", label=None) for strength in STRENGTHS]
    async with SlimeRm(f"{url}/remote_rm?cohort=4&timeout=2&wait=1") as slime:
        call = asyncio.create_task(slime.rewards(samples))
        await asyncio.sleep(4)
        engine.down = False
        rewards = await call
    assert sorted(range(4), key=lambda i: rewards[i]) == [2, 0, 3, 1]


TOOLS = [
    {"role": "system", "content": ""},
    {"role": "user", "content": [{"type": "text", "text": "Which?"}]},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "look", "arguments": {"at": "it"}}}]},
    {"role": "tool", "tool_call_id": "1", "content": "seen"},
]


async def test_slime_prompts_may_be_conversations_as_openai_writes_them(url: str, engine: ScriptedEngine) -> None:
    samples = [SimpleNamespace(prompt=TOOLS, response=f"answer {number}", label=None) for number in (1, 2)]
    async with SlimeRm(f"{url}/remote_rm?cohort=2") as slime:
        rewards = await slime.rewards(samples)
    assert rewards[0] < rewards[1]
    assert all(text in engine.texts[-1] for text in ("Which?", "look", '{"at": "it"}', "seen"))
    nothing = httpx.post(f"{url}/remote_rm?cohort=2", json={"prompt": [{"content": "x"}], "response": "answer 1"})
    assert (nothing.status_code, nothing.json()["error"]["field"]) == (422, "prompt")
