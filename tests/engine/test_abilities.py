"""What an engine can do is measured, not believed; and what it cannot do is made up for."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from reasrm.commands.app import app
from reasrm.engine import HttpEngine
from reasrm.errors import CannotContinue
from reasrm.judging import EngineJudge
from reasrm.prompts import load_pack
from reasrm.types import Ask, Completion, Message, Options, Pair, Verdict
from tests.engine.recorded import LLAMA_CPP, LM_STUDIO, OLLAMA, OPENAI, PREFIXING, STRICT, VERDICT, VLLM, Recorded, serving

ASK = Ask(messages=(Message(role="user", content="Which is better?"),))
BEGUN = ASK.model_copy(update={"prefill": VERDICT[: VERDICT.index("A]]")], "max_tokens": 1, "alternatives": 20, "optional": True})
PAIR = Pair.of("What is 17 + 25?", "42", "43")


def fresh(says: Recorded, **changes: Any) -> Recorded:
    return replace(copy.deepcopy(says), **changes)


async def abilities_of(says: Recorded) -> dict[str, Any]:
    with serving(fresh(says)) as server:
        async with HttpEngine(server.url) as engine:
            info = await engine.probe()
        assert len(server.says.requests) <= 8
    return {"context": info.max_context} | {name: getattr(info.abilities, name) for name in info.abilities.__slots__}


@pytest.mark.parametrize(
    ("says", "found"),
    [
        (VLLM, {"kind": "vllm", "version": "0.12.0", "context": 8192, "logprobs": True, "continues": True, "echoes": False,
                "stops": True, "seeds": True, "pattern": "structured_outputs", "prefixes": "blocks"}),
        (LLAMA_CPP, {"kind": "llama.cpp", "version": "b9000-abc", "context": 4096, "continues": True, "echoes": True, "slots": 2,
                     "logprobs": True, "stops": True, "prefixes": "slots"}),
        (OLLAMA, {"kind": "ollama", "version": "0.12.11", "context": 4096, "continues": True, "echoes": False, "logprobs": True}),
        (LM_STUDIO, {"kind": "lmstudio", "context": 4096, "continues": False, "logprobs": False, "stops": True}),
        (OPENAI, {"kind": "openai", "context": 0, "continues": False, "logprobs": True, "alternatives": 20, "stops": True}),
        (STRICT, {"kind": "openai", "continues": False, "logprobs": False, "seeds": False, "stops": True}),
        (PREFIXING, {"kind": "openai", "continues": True, "echoes": False, "logprobs": True}),
        (fresh(OPENAI, stops=False), {"stops": False}),
        (fresh(OPENAI, thought="Hm."), {"thoughts": True}),
        (fresh(OLLAMA, usage=False), {"continues": True}),
        (fresh(OPENAI, logprobs="zeros"), {"logprobs": False}),
        (fresh(OPENAI, logprobs="null"), {"logprobs": False}),
        (fresh(OPENAI, logprobs="text"), {"logprobs": False}),
        (fresh(OPENAI, logprobs="list"), {"logprobs": False}),
        (fresh(OPENAI, logprobs="words"), {"logprobs": False}),
        (fresh(VLLM, pages={"/version": {"version": "0.10.2"}}), {"pattern": "guided_regex"}),
    ],
    ids=["vllm", "llama.cpp", "ollama", "lmstudio", "openai", "strict", "prefixing", "ignores stops", "reasoning parser",
         "no usage", "zeros", "null", "text", "list", "words", "old vllm"],
)  # fmt: skip
async def test_what_a_server_can_do_is_found_out(says: Recorded, found: dict[str, Any]) -> None:
    abilities = await abilities_of(says)
    assert found.items() <= abilities.items(), {name: abilities[name] for name in found}
    assert abilities["probed"]


@pytest.mark.parametrize("says", [VLLM, LLAMA_CPP, OLLAMA, PREFIXING], ids=["vllm", "llama.cpp", "ollama", "prefixing"])
async def test_a_begun_reply_is_continued_and_its_echo_is_no_part_of_the_reply(says: Recorded) -> None:
    with serving(fresh(says)) as server:
        async with HttpEngine(server.url) as engine:
            await engine.probe()
            plain = await engine.complete(BEGUN)
            *pieces, streamed = [part async for part in engine.stream(BEGUN)]
            longer = BEGUN.model_copy(update={"max_tokens": 9})
            *more, whole = [part async for part in engine.stream(longer)]
    assert plain.text == "A" == "".join(map(str, pieces))
    assert isinstance(streamed, Completion) and isinstance(whole, Completion)
    for completion in (plain, streamed):
        assert completion.tokens and set(completion.tokens[-1].top) >= {"A", "B"}
    assert whole.text == "".join(map(str, more)) == "A]]</answer>"


@pytest.mark.parametrize("says", [LM_STUDIO, OPENAI, STRICT], ids=["lmstudio", "openai", "strict"])
async def test_an_engine_that_starts_a_new_reply_is_not_asked_for_one_letter_more(says: Recorded) -> None:
    with serving(fresh(says)) as server:
        async with HttpEngine(server.url) as engine:
            await engine.probe()
            sent = len(server.says.requests)
            with pytest.raises(CannotContinue, match="cannot continue a reply"):
                await engine.complete(BEGUN)
            assert len(server.says.requests) == sent


@pytest.mark.parametrize("says", [STRICT, OPENAI, LM_STUDIO, OLLAMA, VLLM, LLAMA_CPP], ids=lambda says: says.owner)
@pytest.mark.parametrize("probed", [True, False], ids=["probed", "unprobed"])
async def test_every_server_judges_and_streams(says: Recorded, probed: bool) -> None:
    with serving(fresh(says)) as server:
        async with HttpEngine(server.url) as engine:
            if probed:
                await engine.probe()
            judgment = await EngineJudge(engine, load_pack("rubric"), b"k").judge(PAIR, Options(orders="ab"))
            *_, last = [part async for part in engine.stream(ASK)]
    assert judgment.winner == "A"
    assert isinstance(judgment.outcome, Verdict)
    assert judgment.outcome.source == ("logprobs" if says.logprobs == "good" and says is not STRICT else "votes")
    assert isinstance(last, Completion) and last.text == VERDICT


@pytest.mark.parametrize("wrong", ["none", "zeros", "null", "text", "list", "words"])
async def test_an_engine_whose_logprobs_are_wrong_is_known_after_its_first_reply(wrong: Any) -> None:
    with serving(fresh(OPENAI, logprobs=wrong)) as server:
        async with HttpEngine(server.url) as engine:
            first = await engine.complete(ASK)
            assert first.text == VERDICT and first.tokens is None
            *_, streamed = [part async for part in engine.stream(ASK)]
            assert isinstance(streamed, Completion) and streamed.text == VERDICT
            assert (await engine.info()).abilities.logprobs is False
            await engine.complete(ASK)
        assert "logprobs" not in server.says.requests[-1]


async def test_another_number_of_alternatives_is_asked_for_where_an_engine_gives_fewer() -> None:
    def refuse(body: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        if body.get("top_logprobs", 0) <= 5:
            return None
        words = "Invalid 'top_logprobs': integer above maximum value. Expected a value <= 5, but got 20."
        return 400, {"error": {"message": words}}

    with serving(fresh(VLLM, refuse=refuse)) as server:
        async with HttpEngine(server.url) as engine:
            completion = await engine.complete(BEGUN)
            assert completion.tokens and {"A", "B"} <= set(completion.tokens[-1].top)
            assert (await engine.probe()).abilities.logprobs
        assert server.says.requests[-1]["top_logprobs"] == 5


async def test_a_server_that_wants_max_completion_tokens_gets_them() -> None:
    words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."

    def refuse(body: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        return (400, {"error": {"message": words, "param": "max_tokens"}}) if "max_tokens" in body else None

    with serving(fresh(OPENAI, refuse=refuse)) as server:
        async with HttpEngine(server.url) as engine:
            assert (await engine.complete(ASK)).text == VERDICT
            assert (await engine.complete(ASK)).text == VERDICT
        assert [body.get("max_completion_tokens") for body in server.says.requests] == [None, 2048, 2048]


async def test_an_address_where_another_server_starts_is_probed_again() -> None:
    with serving(fresh(LM_STUDIO)) as server:
        async with HttpEngine(server.url) as engine:
            assert (await engine.probe()).abilities.continues is False
            server.says = fresh(LLAMA_CPP)
            before = await engine.info(refresh=True)
            assert (before.abilities.kind, before.abilities.probed) == ("llama.cpp", False)
            after = (await engine.probe()).abilities
            assert (after.echoes, after.logprobs, after.probed) == (True, True, True)
            assert (await engine.complete(BEGUN)).text == "A"


async def test_a_pattern_is_sent_in_the_argument_that_an_engine_knows() -> None:
    ask = BEGUN.model_copy(update={"pattern": r"A|B"})
    for says, name, value in (
        (VLLM, "structured_outputs", {"regex": "A|B"}),
        (LLAMA_CPP, "grammar", 'root ::= "A" | "B"'),
        (OLLAMA, "regex", None),
    ):
        with serving(fresh(says)) as server:
            async with HttpEngine(server.url) as engine:
                await engine.complete(ask)
            assert server.says.requests[-1].get(name) == value


def test_the_command_shows_what_an_engine_can_do_as_a_table_and_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with serving(fresh(LLAMA_CPP)) as server:
        table = CliRunner().invoke(app, ["engines", server.url]).stdout
        [told] = json.loads(CliRunner().invoke(app, ["engines", server.url, "--json"]).stdout)
    lines = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in table.splitlines() if line.count("│") == 4}
    assert lines["server"] == "llama.cpp b9000-abc"
    assert lines["context window"] == "4,096 tokens"
    assert lines["log-probabilities"] == "yes, 20 per token"
    assert lines["continues a begun reply"] == "yes, and repeats it"
    assert lines["requests at once"] == "2"
    assert (told["engine"], told["model"], told["max_context"]) == (server.url, "judge", 4096)
    assert told["abilities"]["echoes"] is True
