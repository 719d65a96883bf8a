"""All routes of RL frameworks read texts alike: thoughts, rendered prompts, empty responses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from reasrm.messages import EMPTY
from tests.serving.loops import ScriptedEngine
from tests.serving.traffic import metric

QWEN = "<|im_start|>user\nWhich one?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
OPENED = QWEN.partition("\n\n</think>")[0]


def gym_response(text: str) -> dict[str, Any]:
    return {"output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}]}


#: Route -> the bodies that bring these responses to one prompt, two of them.
ROUTES: dict[str, Callable[[list[str]], list[dict[str, Any]]]] = {
    "/get_reward?cohort=2": lambda texts: [{"query": [f"Which one?{text}"], "prompts": ["Which one?"]} for text in texts],
    "/remote_rm?cohort=2": lambda texts: [{"prompt": "Which one?", "response": text} for text in texts],
    "/verify?cohort=2": lambda texts: [
        {"responses_create_params": {"input": "Which one?"}, "response": gym_response(text)} for text in texts
    ],
    "/compare?run=x": lambda texts: [
        {
            "conversation_history": [{"role": "user", "content": "Which one?"}],
            "response_objs": [gym_response(text) for text in texts],
        }
    ],
    "/v1/responses?run=x": lambda texts: [{"input": "Which one?", "metadata": {"response_1": texts[0], "response_2": texts[1]}}],
    "/v1/reward": lambda texts: [{"question": "Which one?", "response": text, "cohort": 2} for text in texts],
}


async def post(url: str, path: str, bodies: list[dict[str, Any]]) -> list[httpx.Response]:
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        answers = await asyncio.gather(*(client.post(url + path, json=body) for body in bodies))
    assert [answer.status_code for answer in answers] == [200] * len(bodies), [answer.text for answer in answers]
    return list(answers)


@pytest.mark.parametrize("path", ROUTES)
async def test_thoughts_are_left_out_on_every_route(url: str, engine: ScriptedEngine, path: str) -> None:
    await post(url, path, ROUTES[path]([f"<think>My thought.</think>\n\nanswer {number}" for number in (1, 2)]))
    assert engine.texts
    assert not [text for text in engine.texts if "My thought." in text]
    assert all("answer 1" in text and "answer 2" in text for text in engine.texts)


@pytest.mark.parametrize("path", ROUTES)
async def test_thoughts_are_kept_on_every_route_where_the_caller_says_so(url: str, engine: ScriptedEngine, path: str) -> None:
    bodies = ROUTES[path]([f"<think>My thought.</think>\n\nanswer {number}" for number in (1, 2)])
    if "?" in path:
        await post(url, f"{path}&thinking=keep", bodies)
    else:
        await post(url, path, [body | {"thinking": "keep"} for body in bodies])
    assert engine.texts
    assert all(text.count("My thought.") == 2 for text in engine.texts)


@pytest.mark.parametrize("path", ROUTES)
async def test_a_response_that_is_only_an_unfinished_thought_is_an_empty_one(url: str, engine: ScriptedEngine, path: str) -> None:
    await post(url, path, ROUTES[path](["<think>answer 9 perhaps", "answer 2"]))
    assert all(EMPTY in text and "answer 9" not in text for text in engine.texts)


@pytest.mark.parametrize(("prompt", "begins"), [(QWEN, ""), (OPENED, "My thought.</think>\n\n"), (OPENED + "\n", "x</think>")])
@pytest.mark.parametrize("route", ["/get_reward?cohort=2", "/remote_rm?cohort=2"])
async def test_all_routes_read_a_rendered_prompt_alike(
    url: str, engine: ScriptedEngine, route: str, prompt: str, begins: str
) -> None:
    texts = [f"{begins}answer {number}<|im_end|>" for number in (1, 2)]
    bodies = [
        {"query": [prompt + text], "prompts": [prompt]} if "get_reward" in route else {"prompt": prompt, "response": text}
        for text in texts
    ]
    await post(url, route, bodies)
    assert engine.texts
    for text in engine.texts:
        assert "Which one?" in text
        assert not [token for token in ("assistant\n", "<think>", "im_start", "My thought.") if token in text.split("[response")[0]]
        assert "My thought." not in text


async def test_prompts_of_an_unknown_form_are_counted(url: str) -> None:
    bodies = [{"prompt": "<|new_turn|>user: which?", "response": f"answer {number}"} for number in (1, 2)]
    await post(url, "/remote_rm?cohort=2", bodies)
    page = httpx.get(f"{url}/metrics").text
    assert 'reasrm_prompts_read_total{contract="slime",form="unknown"} 2.0' in page


class Address:
    """What `metric` reads: a server's address."""

    def __init__(self, url: str) -> None:
        self.url = url


async def test_a_reference_loses_its_thought_too(url: str, engine: ScriptedEngine) -> None:
    body = {"prompt": "Which one?", "response": "answer 1", "label": "<think>Why?</think>answer 5"}
    [answer] = await post(url, "/remote_rm?reference=label", [body])
    assert answer.json() < 0
    assert not [text for text in engine.texts if "Why?" in text]
    assert metric(Address(url), "reasrm_rewards_total") == 1
