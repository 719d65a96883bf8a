"""A reply ends at a stop string and where it repeats itself, also where the engine goes on."""

from __future__ import annotations

import copy
import random
import time
from dataclasses import replace
from typing import Any

import pytest

from reasrm.engine import HttpEngine
from reasrm.engine.cutting import StreamCutter, repeats_itself, stop_in
from reasrm.engine.request import gbnf_of
from reasrm.types import Ask, Completion, Message
from tests.engine.recorded import LLAMA_CPP, OPENAI, VERDICT, Recorded, serving

STOP = "</answer>"
ASK = Ask(messages=(Message(role="user", content="Which is better?"),), stop=(STOP,))
LONG = VERDICT + " And now I judge once more: <eval>B is right</eval><answer>[[B]]</answer>" + " more" * 200
BLOCK = "The response says 42, and the reference says 42 too. "


def fresh(says: Recorded, **changes: Any) -> Recorded:
    return replace(copy.deepcopy(says), **changes)


@pytest.mark.parametrize("stops", [True, False], ids=["honoured", "ignored"])
@pytest.mark.parametrize("probed", [True, False], ids=["probed", "unprobed"])
async def test_a_reply_ends_at_its_stop_string_plain_and_streamed(stops: bool, probed: bool) -> None:
    """The log-probabilities of what remains are those of its tokens."""
    with serving(fresh(OPENAI, stops=stops, reply=LONG)) as server:
        async with HttpEngine(server.url) as engine:
            if probed:
                assert (await engine.probe()).abilities.stops is stops
            plain = await engine.complete(ASK)
            *pieces, streamed = [part async for part in engine.stream(ASK)]
    assert isinstance(streamed, Completion)
    assert plain.text == streamed.text == "".join(map(str, pieces)) == VERDICT.removesuffix(STOP)
    for completion in (plain, streamed):
        assert completion.finish_reason == "stop"
        assert completion.tokens is not None
        assert "".join(token.text for token in completion.tokens).startswith(plain.text)
        letter = next(token for token in completion.tokens if token.text == "A")
        assert {"A", "B"} <= set(letter.top)


async def test_a_stream_is_closed_at_a_stop_string_that_the_engine_ignores() -> None:
    text = VERDICT + " more" * 20_000
    with serving(fresh(OPENAI, stops=False, reply=text)) as server:
        async with HttpEngine(server.url) as engine:
            ask = ASK.model_copy(update={"max_tokens": 60_000})
            *_, last = [part async for part in engine.stream(ask)]
        assert isinstance(last, Completion) and last.text == VERDICT.removesuffix(STOP)
    assert server.says.pieces_sent < 20_000


async def test_a_stream_that_repeats_itself_ends_as_a_reply_that_was_too_long() -> None:
    with serving(fresh(LLAMA_CPP, reply="<eval>" + BLOCK * 400)) as server:
        async with HttpEngine(server.url) as engine:
            *pieces, last = [part async for part in engine.stream(ASK.model_copy(update={"max_tokens": 20_000}))]
    assert isinstance(last, Completion)
    assert last.finish_reason == "length"
    assert last.text == "".join(map(str, pieces))
    assert 4 <= last.text.count(BLOCK) <= 6
    assert last.usage.completion_tokens > 0


def test_stop_strings_are_found_across_pieces_and_nothing_else_is_held_back() -> None:
    cutter = StreamCutter(("</answer>", "\n\nQuestion"))
    passed = [cutter.add(piece) for piece in ("<ans", "wer>[[A]]<", "/ans", "swer", ">", "\n", "x")]
    assert passed == ["<ans", "wer>[[A]]", "", "</ansswer", ">", "", "\nx"]
    assert cutter.ended is None
    assert cutter.add("</answer> and more") == ""
    assert (cutter.ended, cutter.rest) == ("stop", "")
    assert stop_in("abc", ()) is None


@pytest.mark.parametrize(
    ("text", "repeats"),
    [
        (BLOCK * 5, True),
        (BLOCK * 3, False),
        ("x" * 300 + BLOCK * 5, True),
        (BLOCK * 5 + "At last something else.", False),
        ("".join(f"{i} of a long block. " for i in range(20)) * 4, True),
        ("ha " * 60, False),  # a quotation
        ("ha " * 90, True),
        ("-" * 500, False),  # a rule
        ("| a | b |\n" * 5, False),
        ("".join(f"{i}. Criterion number {i} is met by both.\n" for i in range(60)), False),
    ],
)  # fmt: skip
def test_a_repetition_is_many_equal_blocks_with_words(text: str, repeats: bool) -> None:
    assert repeats_itself(text) is repeats


def test_looking_for_repetitions_takes_linear_time() -> None:
    generator = random.Random(1)

    def seconds(pieces: int) -> float:
        cutter = StreamCutter(("</answer>",))
        texts = [generator.choice((" a", " ab", "\n")) for _ in range(pieces)]
        started = time.perf_counter()
        for text in texts:
            cutter.add(text)
        return time.perf_counter() - started

    assert seconds(40_000) < 30 * max(seconds(4_000), 1e-3)


@pytest.mark.parametrize(
    ("pattern", "grammar"),
    [
        ("A|B", 'root ::= "A" | "B"'),
        ("(?:A|B)", 'root ::= "A" | "B"'),
        (r"A\]\]</answer>|B\]\]</answer>", 'root ::= "A]]</answer>" | "B]]</answer>"'),
        (r'say "A\\"', r'root ::= "say \"A\\\""'),
        ("[AB]", None),
        ("A+", None),
        (r"\d", None),
        ("", None),
    ],
)
def test_a_pattern_becomes_a_grammar_where_it_is_a_choice_of_texts(pattern: str, grammar: str | None) -> None:
    assert gbnf_of(pattern) == grammar
