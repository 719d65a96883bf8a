"""What real engines can do: SGLang and llama.cpp, with real models."""

from __future__ import annotations

import pytest

from reasrm.engine import HttpEngine
from reasrm.types import Ask, Completion, Message
from tests.components import LlamaCpp, Sglang

QUESTION = (Message(role="user", content="Which number is larger? A: 3, B: 5. Answer with a letter."),)
LETTER = Ask(messages=QUESTION, prefill="<answer>[[", max_tokens=1, alternatives=20, pattern="A|B")


@pytest.fixture(params=["sglang", "llama_cpp"])
def server(request: pytest.FixtureRequest) -> Sglang | LlamaCpp:
    return request.getfixturevalue(request.param)


async def test_sglang_says_what_it_can_do(sglang: Sglang) -> None:
    async with HttpEngine(sglang.url) as engine:
        able = (await engine.probe()).abilities
    assert (able.kind, able.logprobs, able.continues, able.echoes, able.probed) == ("sglang", True, True, False, True)
    assert able.version and able.slots and able.prefixes == "radix tree"
    assert able.thoughts is False


async def test_llama_cpp_says_what_it_can_do(llama_cpp: LlamaCpp) -> None:
    async with HttpEngine(llama_cpp.url) as engine:
        info = await engine.probe()
    able = info.abilities
    assert (able.kind, able.logprobs, able.continues, able.stops, able.seeds) == ("llama.cpp", True, True, True, True)
    assert (able.alternatives, able.slots, able.prefixes, info.max_context) == (20, 2, "slots", 4096)
    assert able.echoes is not None


async def test_one_forced_letter_has_its_alternatives_plain_and_streamed(server: Sglang | LlamaCpp) -> None:
    async with HttpEngine(server.url) as engine:
        await engine.probe()
        plain = await engine.complete(LETTER)
        *pieces, streamed = [part async for part in engine.stream(LETTER)]
    assert isinstance(streamed, Completion)
    assert "".join(map(str, pieces)) == plain.text == streamed.text
    assert plain.text in ("A", "B")
    assert plain.tokens and streamed.tokens
    assert {"A", "B"} <= set(plain.tokens[-1].top) and plain.tokens[-1].top.keys() == streamed.tokens[-1].top.keys()


async def test_a_stream_and_a_plain_reply_end_alike_at_a_stop_string(server: Sglang | LlamaCpp) -> None:
    """Greedy, so both write the same; the stop string is one that the free reply contains."""
    async with HttpEngine(server.url) as engine:
        free = await engine.complete(Ask(messages=QUESTION, max_tokens=24))
        stop = free.text[len(free.text) // 2 :][:3]
        ask = Ask(messages=QUESTION, max_tokens=24, stop=(stop,))
        plain = await engine.complete(ask)
        *pieces, streamed = [part async for part in engine.stream(ask)]
    assert isinstance(streamed, Completion)
    assert plain.text == streamed.text == "".join(map(str, pieces)) == free.text[: free.text.index(stop)]
    assert plain.finish_reason == streamed.finish_reason == "stop"
