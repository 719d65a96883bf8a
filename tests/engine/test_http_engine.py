"""The engine seam against a real SGLang server."""

import asyncio
import json
import math
import time

import httpx
import pytest

from reasrm.engine import EngineInfo, HttpEngine, completion_of
from reasrm.errors import EngineNonsense, EngineUnreachable, InputError, TooLong
from reasrm.judging.opinions import opinion_of
from reasrm.prompts import load_pack
from reasrm.types import Ask, Completion, Message, Pair, Verdict

PAIR = Pair.of("q", "a", "b")


def ask(text="Which is better?", **more):
    return Ask(messages=(Message(role="user", content=text),), **{"max_tokens": 16, **more})


@pytest.fixture
async def engine(sglang):
    async with HttpEngine(sglang.url) as engine:
        yield engine


async def test_a_completion_names_its_tokens_its_model_and_its_weight_version(engine):
    completion = await engine.complete(ask())
    info = await engine.info()
    assert info.sglang
    assert info.max_context > 0
    assert completion.usage.completion_tokens > 0
    assert completion.usage.requests == 1
    assert completion.model == info.model
    assert completion.weight_version == info.weight_version != ""
    assert completion.tokens


async def test_a_prefill_is_continued_and_not_repeated(engine):
    whole = await engine.complete(ask(max_tokens=12))
    half = await engine.complete(ask(max_tokens=12, prefill="<answer>[["))
    assert not half.text.startswith("<answer>[[")
    assert half.usage.prompt_tokens > whole.usage.prompt_tokens


async def test_greedy_replies_repeat(engine):
    one, two = await asyncio.gather(engine.complete(ask()), engine.complete(ask()))
    assert one.text == two.text


async def test_logprobs_do_not_depend_on_the_temperature_that_sampled(engine):
    """At temperature T SGLang reports logprobs of the scaled distribution; differences of two tokens are scaled back."""
    (first,) = (await engine.complete(ask(max_tokens=1, temperature=0.0))).tokens
    (second,) = (await engine.complete(ask(max_tokens=1, temperature=0.5))).tokens
    shared = sorted(set(first.top) & set(second.top))[:2]
    assert len(shared) == 2
    gaps = [token.top[shared[0]] - token.top[shared[1]] for token in (first, second)]
    assert gaps[0] == pytest.approx(gaps[1], abs=0.05)


async def test_a_stream_ends_with_the_completion_that_a_plain_request_gives(engine):
    plain = await engine.complete(ask())
    parts = [part async for part in engine.stream(ask())]
    assert isinstance(parts[-1], Completion)
    assert "".join(parts[:-1]) == parts[-1].text == plain.text
    assert parts[-1].usage.completion_tokens == plain.usage.completion_tokens


async def test_the_verdicts_probability_of_a_stream_is_read_from_one_more_token(engine):
    version = (await engine.info()).weight_version
    completion = Completion(text="<eval>x</eval><answer>[[A]]</answer> It is so.", weight_version=version)
    probed = await engine._with_verdict_tokens(ask(), completion)
    assert probed.tokens is not None
    assert probed.usage.completion_tokens == 1
    letter = next(token for token in probed.tokens if token.text == "A")
    assert all(logprob <= 0.0 or math.isclose(logprob, 0.0, abs_tol=1e-6) for logprob in letter.top.values())
    opinion = opinion_of(PAIR, ask(), probed, load_pack("rubric"))
    assert isinstance(opinion.outcome, Verdict)
    assert opinion.outcome.source == "logprobs"


async def test_an_over_long_prompt_names_the_count_and_the_limit(engine):
    info = await engine.info()
    with pytest.raises(TooLong) as caught:
        await engine.complete(ask("word " * info.max_context))
    assert caught.value.count > caught.value.limit == info.max_context


async def test_cancelling_stops_the_generation_in_the_engine(sglang, engine):
    await engine.info()
    running = asyncio.create_task(engine.complete(ask(max_tokens=4000, temperature=1.0, prefill="<solution>")))
    await until(lambda: in_flight(engine), 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    started = time.perf_counter()
    await until(lambda: in_flight(engine), 0)
    assert time.perf_counter() - started < 3.0


async def in_flight(engine):
    text = (await engine._http.get(f"{engine.url}/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith("sglang:num_running_reqs{")]
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines))


async def until(read, value, within_s=10.0):
    deadline = time.perf_counter() + within_s
    while await read() != value:
        assert time.perf_counter() < deadline, f"never became {value}"
        await asyncio.sleep(0.02)


async def test_an_engine_that_is_away_is_named_with_its_address():
    async with HttpEngine("http://127.0.0.1:9", retries=0) as engine:
        with pytest.raises(EngineUnreachable, match=r"127\.0\.0\.1:9"):
            await engine.complete(ask())


async def test_an_engine_that_dies_while_it_lists_its_models_is_unreachable():
    def answer(request):
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": "judge"}]})
        raise httpx.ConnectError("refused", request=request)

    async with HttpEngine("http://engine", http=httpx.AsyncClient(transport=httpx.MockTransport(answer))) as engine:
        with pytest.raises(EngineUnreachable, match="no engine answers at http://engine"):
            await engine.info()


async def test_a_model_that_is_not_served_is_refused_with_those_that_are(sglang):
    async with HttpEngine(sglang.url, model="nonesuch") as engine:
        with pytest.raises(InputError, match="does not serve 'nonesuch'; it serves"):
            await engine.info()


def test_an_address_without_a_scheme_is_refused_at_once():
    with pytest.raises(InputError, match="http://"):
        HttpEngine("localhost:30000")


async def test_half_of_a_surrogate_pair_becomes_a_question_mark_in_text_tokens_and_stream():
    """JSON can hold half a pair; a file or a response in UTF-8 cannot."""
    token = {"token": "\ud83d", "logprob": -0.1, "top_logprobs": [{"token": "\udfff", "logprob": -2.0}]}
    whole = {"message": {"content": "\U0001f600 cut \ud83d"}, "finish_reason": "length", "logprobs": {"content": [token]}}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200 if request.url.path == "/v1/models" else 404, json={"data": [{"id": "judge"}]})
        if not json.loads(request.content).get("stream"):
            return httpx.Response(200, content=json.dumps({"choices": [whole]}))
        chunk = json.dumps({"choices": [{"delta": whole["message"], "finish_reason": "stop"}]})
        return httpx.Response(200, content=f"data: {chunk}\n\ndata: [DONE]\n\n")

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        engine = HttpEngine("http://engine", http=http)
        completion = await engine.complete(ask())
        *pieces, last = [part async for part in engine.stream(ask())]
    assert completion.text == last.text == "".join(pieces) == "\U0001f600 cut ?"
    assert (completion.tokens[0].text, sorted(completion.tokens[0].top)) == ("?", ["?"])
    assert Completion.model_validate_json(completion.model_dump_json()) == completion


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "x", "reasoning_content": "t"}, "t</think>x"),
        ({"content": "x", "reasoning": "t"}, "t</think>x"),  # vLLM
        ({"content": None, "reasoning": "t"}, "t</think>"),
        ({"role": "assistant"}, ""),  # Gemini, whose thought used all of the tokens
    ],
)
def test_a_thought_that_is_handed_over_apart_is_put_back_in_its_place(message: dict[str, str], text: str):
    assert completion_of({"choices": [{"message": message}]}, EngineInfo("m"), ask()).text == text


def test_a_server_that_miscounts_tokens_is_corrected_or_reported():
    body = {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 3, "completion_tokens": -1}}
    usage = completion_of(body, EngineInfo("m"), ask()).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 0)
    with pytest.raises(EngineNonsense):
        completion_of(body | {"usage": {"prompt_tokens": math.inf}}, EngineInfo("m"), ask())


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("http://engine", "/v1/chat/completions"),
        ("http://engine/v1/", "/v1/chat/completions"),
        ("http://engine/judge", "/judge/v1/chat/completions"),
        ("http://engine/v1beta/openai/", "/v1beta/openai/chat/completions"),
        ("http://engine/api/v3", "/api/v3/chat/completions"),
    ],
)
async def test_an_address_may_contain_the_version_of_the_api(address: str, path: str):
    requests: list[tuple[str, dict]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append((request.url.path, json.loads(request.content)))
        return httpx.Response(200, json={"choices": [{"message": {"content": "x"}}]})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        over = {"max_tokens": None, "max_completion_tokens": 9}
        known = EngineInfo("m")  # so no request is made for it
        await HttpEngine(address, body=over, info=known, http=http).complete(ask())
    ((route, body),) = requests
    assert (route, body["model"], body["max_completion_tokens"], "max_tokens" in body) == (path, "m", 9, False)
