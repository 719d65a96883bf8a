"""llama.cpp, as the gateway launches it, gives the replies of SGLang. Requests do not affect each other and end with callers."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import httpx
import pytest
from reasrm_serving.demo import PAIRS
from reasrm_serving.settings import EMBEDDED

from reasrm.engine import EngineInfo, HttpEngine
from reasrm.engine.abilities import KNOWN
from reasrm.errors import TooLong
from reasrm.judging import EngineJudge
from reasrm.launch import read_gguf
from reasrm.launch.llama_cpp import LlamaServer, llama_server
from reasrm.prompts import load_pack
from reasrm.types import Ask, Completion, Message, Options, Pair
from tests.components import Sglang

QUESTION = load_pack("world").render(Pair.of("Add 879+238.", "The answer is 1117.", "It is 1114."), b"key")
DEMO = json.loads(PAIRS.read_text())


def ask(prefill: str = "", max_tokens: int = 60, temperature: float = 0.0, seed: int | None = None, **more: object) -> Ask:
    return Ask(messages=QUESTION, prefill=prefill, max_tokens=max_tokens, temperature=temperature, seed=seed, **more)


@pytest.fixture(scope="module")
def server() -> Iterator[LlamaServer]:
    server = llama_server(read_gguf(EMBEDDED / "model.gguf"))
    with server.process(lambda line: None):
        yield server


@pytest.fixture
async def engine(server: LlamaServer) -> AsyncIterator[HttpEngine]:
    async with engine_of(server) as engine:
        yield engine


def engine_of(server: LlamaServer, **body: object) -> HttpEngine:
    info = EngineInfo(server.model.name, "v", server.context, replace(KNOWN["llama.cpp"], slots=server.slots))
    return HttpEngine(server.url, api_key=server.key, info=info, body=body)


async def test_it_gives_the_replies_of_sglang_from_the_same_weights(engine: HttpEngine, sglang: Sglang) -> None:
    async with HttpEngine(sglang.url) as other:
        for request in (ask(), ask("<answer>[[", 1), ask("<type>Reasoning</type>\n<solution>", 30)):
            mine, theirs = await engine.complete(request), await other.complete(request)
            assert mine.usage.prompt_tokens == theirs.usage.prompt_tokens
            assert (mine.text, mine.finish_reason) == (theirs.text, theirs.finish_reason)
            for one, two in zip(mine.tokens or (), theirs.tokens or (), strict=True):
                for text in set(one.top) & set(two.top):
                    assert math.exp(one.top[text]) == pytest.approx(math.exp(two.top[text]), abs=0.02)


async def test_the_judge_gives_the_same_verdicts_in_llama_cpp_and_on_sglang(engine: HttpEngine, sglang: Sglang) -> None:
    pack, options = load_pack("world"), Options(max_tokens=400)
    pairs = {pair["family"]: Pair.of(pair["question"], pair["a"], pair["b"]) for pair in DEMO}
    async with HttpEngine(sglang.url) as there:
        for family, pair in pairs.items():
            mine = await EngineJudge(engine, pack, b"key").judge(pair, options)
            theirs = await EngineJudge(there, pack, b"key").judge(pair, options)
            assert mine.winner == theirs.winner, family
            assert mine.probability_a == pytest.approx(theirs.probability_a, abs=0.05), family


async def test_a_reply_does_not_depend_on_the_requests_beside_it(engine: HttpEngine) -> None:
    asks = [ask(max_tokens=5), ask("<type>", 30), *(ask(max_tokens=25, temperature=4.0, seed=seed) for seed in range(6))]
    together = await asyncio.gather(*map(engine.complete, asks))
    alone = [await engine.complete(request) for request in asks]
    assert [completion.text for completion in together] == [completion.text for completion in alone]
    assert len({completion.text for completion in together[2:]}) > 3, "seeds differ"
    assert together[0].usage.completion_tokens == 5


async def test_a_begun_reply_is_continued_and_not_repeated(engine: HttpEngine) -> None:
    whole = (await engine.complete(ask(max_tokens=300))).text
    for at in (whole.index("<solution>") + len("<solution>\n"), whole.index("</solution>"), whole.index("[[") + 2):
        rest = await engine.complete(ask(whole[:at], 300))
        assert whole[:at] + rest.text == whole


async def test_a_stream_is_the_reply_in_pieces(engine: HttpEngine) -> None:
    *pieces, last = [piece async for piece in engine.stream(ask("<type>", max_tokens=40))]
    assert isinstance(last, Completion)
    assert len(pieces) > 10
    assert "".join(map(str, pieces)) == last.text == (await engine.complete(ask("<type>", max_tokens=40))).text


async def test_a_reply_ends_before_a_stop_text_and_keeps_the_letters_alternatives(engine: HttpEngine) -> None:
    cut = await engine.complete(ask(max_tokens=300, stop=("]]</answer>",)))
    assert cut.finish_reason == "stop"
    assert cut.text.endswith(("<answer>[[A", "<answer>[[B"))
    assert any({"A", "B"} <= token.top.keys() for token in cut.tokens or ())


async def test_samples_come_from_the_whole_distribution(engine: HttpEngine) -> None:
    """Votes are shares of the model's own distribution: no top-k and no floor cuts its tail."""
    greedy = await engine.complete(ask(max_tokens=1))
    hot = await asyncio.gather(*(engine.complete(ask(max_tokens=1, temperature=2.0, seed=seed)) for seed in range(60)))
    assert len({completion.text for completion in hot}) > 1
    assert greedy.text in {completion.text for completion in hot}


async def test_the_request_of_a_caller_that_left_frees_its_slot() -> None:
    arguments = {"endpoint_metrics": "true"}
    server = llama_server(read_gguf(EMBEDDED / "model.gguf"), slots=1, context=4096, arguments=arguments)
    with server.process(lambda line: None):
        async with engine_of(server, ignore_eos=True) as endless:
            leaving = asyncio.create_task(endless.complete(ask(max_tokens=3800)))
            while not metric(server, "requests_processing"):
                await asyncio.sleep(0.02)
            leaving.cancel()
            await endless.complete(ask(max_tokens=2))  # it waits for the only slot
            assert metric(server, "tokens_predicted_total") < 3800


def metric(server: LlamaServer, name: str) -> float:
    text = httpx.get(f"{server.url}/metrics", headers={"authorization": f"Bearer {server.key}"}).text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"llamacpp:{name} "))


async def test_a_prompt_that_does_not_fit_is_refused_in_tokens(engine: HttpEngine) -> None:
    long = Ask(messages=(Message(role="user", content="17 + 25 " * 3000),), max_tokens=8)
    with pytest.raises(TooLong, match=r"4,?096") as refused:
        await engine.complete(long)
    assert refused.value.count > refused.value.limit == 4096
    assert (await engine.complete(ask(max_tokens=2))).text, "the engine still runs"
