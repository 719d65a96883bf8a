"""The embedded engine gives the replies of SGLang. Requests in a batch do not affect each other. It stops for absent callers."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from reasrm_serving.engines.embedded import EmbeddedEngine
from reasrm_serving.engines.embedded_model import EmbeddedModel

from reasrm.engine import HttpEngine
from reasrm.errors import InputError, TooLong
from reasrm.types import Ask, Completion, Message
from tests.components import Sglang

QUESTION = (Message(role="user", content="Which response is better? A or B, 17 + 25?"),)


def ask(prefill: str = "", max_tokens: int = 20, temperature: float = 0.0, seed: int | None = None, **more: object) -> Ask:
    return Ask(messages=QUESTION, prefill=prefill, max_tokens=max_tokens, temperature=temperature, seed=seed, **more)


@pytest.fixture(scope="module")
def model(endless_model: Path) -> EmbeddedModel:
    return EmbeddedModel(endless_model, "cpu")


@pytest.fixture
async def engine(model: EmbeddedModel) -> AsyncIterator[EmbeddedEngine]:
    engine = EmbeddedEngine(model)
    yield engine
    await engine.aclose()


async def test_the_embedded_engine_gives_the_replies_of_sglang_from_the_same_weights(
    engine: EmbeddedEngine, random_judge: Sglang
) -> None:
    async with HttpEngine(random_judge.url) as sglang:
        for request in (ask("<answer>[[", 4), ask("<type>Chat</type>\n<rubric>", 4), ask(max_tokens=3)):
            mine, theirs = await engine.complete(request), await sglang.complete(request)
            assert mine.usage.prompt_tokens == theirs.usage.prompt_tokens
            assert mine.text == theirs.text
            assert mine.finish_reason == theirs.finish_reason
            assert mine.tokens is not None
            assert theirs.tokens is not None
            for one, other in zip(mine.tokens, theirs.tokens, strict=True):
                for text in set(one.top) & set(other.top):
                    assert math.exp(one.top[text]) == pytest.approx(math.exp(other.top[text]), abs=0.02), "it computes in bfloat16"


async def test_a_reply_does_not_depend_on_the_other_requests_of_its_batch(engine: EmbeddedEngine) -> None:
    asks = [ask(max_tokens=5), ask("<eval>", 30), *(ask(max_tokens=25, temperature=1.0, seed=seed) for seed in range(4))]
    together = await asyncio.gather(*map(engine.complete, asks))
    alone = [await engine.complete(request) for request in asks]
    assert [completion.text for completion in together] == [completion.text for completion in alone]
    assert len({completion.text for completion in together[2:]}) == 4, "seeds differ"
    assert [completion.usage.completion_tokens for completion in together[:2]] == [5, 30]


async def test_a_stream_is_the_reply_in_pieces(engine: EmbeddedEngine) -> None:
    *pieces, last = [piece async for piece in engine.stream(ask(max_tokens=40))]
    assert isinstance(last, Completion)
    assert len(pieces) > 10
    assert "".join(map(str, pieces)) == last.text == (await engine.complete(ask(max_tokens=40))).text


async def test_a_reply_ends_before_a_stop_text(engine: EmbeddedEngine) -> None:
    whole = (await engine.complete(ask(max_tokens=30))).text
    stop = whole[6:9]
    cut = await engine.complete(ask(max_tokens=30, stop=(stop,)))
    assert cut.text == whole[: whole.find(stop)]
    assert cut.finish_reason == "stop"


async def test_the_request_of_a_caller_that_left_is_dropped_from_the_batch(engine: EmbeddedEngine) -> None:
    endless = "<answer>[[A]]</answer>"
    started = time.perf_counter()
    await engine.complete(ask(endless, 200))
    whole_s = (time.perf_counter() - started) * 8000 / 200
    leaving = asyncio.create_task(engine.complete(ask(endless, 8000)))
    await asyncio.sleep(0.1)
    leaving.cancel()
    started = time.perf_counter()
    await engine.complete(ask(max_tokens=2))
    assert time.perf_counter() - started < whole_s / 4


async def test_a_text_that_does_not_fit_is_refused_in_tokens(engine: EmbeddedEngine) -> None:
    with pytest.raises(TooLong, match="8192") as refused:
        await engine.complete(ask(max_tokens=8190))
    assert refused.value.count > refused.value.limit == 8192
    assert (await engine.complete(ask(max_tokens=2))).text, "the engine still runs"


def test_a_folder_without_a_model_and_a_device_that_is_not_there_are_named(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json"):
        EmbeddedModel(tmp_path, "cpu")
    with pytest.raises(InputError, match="no device 'abacus'"):
        EmbeddedModel(tiny_model, "abacus")
