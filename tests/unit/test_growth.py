"""Hostile texts must cost no more than their length: time is measured on this process's own processor clock."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from reasrm_training.oracle.leaks import label_leak

from reasrm.judging import quotations
from reasrm.parsing import deliberation_of, parse, unquoted
from reasrm.prompts import escape, escape_deliberation, load_pack, unescape
from reasrm.prompts.importing import import_pack
from reasrm.types import Pair

SMALL, LARGE = 2_500, 40_000
SHORTEST_S = 2e-3  # shorter times are below the clock's noise
MOST = 1.3  # of the exponent; a quadratic pattern has 2.0
FIXED = ("[The Start]", r"\boxed", "- - -", "<question>")

#: A text is a head, then a repeated piece, then a tail.
HOSTILE = {
    "spaces in a criterion": ("<rubric>\n1. a", " ", "b"),
    "spaces before a criterion": ("<rubric>\n", " ", "x"),
    "digits in a criterion": ("<rubric>\n1. a ", "1", ""),
    "digits and dots in a criterion": ("<rubric>\n1. a ", "1.", "%x"),
    "brackets in a criterion": ("<rubric>\n1. a ", "(", "4"),
    "percentages in a criterion": ("<rubric>\n1. a ", "(4% ", ""),
    "weights in a criterion": ("<rubric>\n1. a ", "weight ", ""),
    "criteria": ("<rubric>", "\n1. a (1%)", "</rubric>"),
    "open rubrics": ("", "<rubric>", ""),
    "rubrics": ("", "<rubric></rubric>", ""),
    "rubrics before evaluations": ("", "<rubric><eval>", ""),
    "evaluations": ("", "<eval>x</eval>", ""),
    "closing tags": ("<eval>", "</eval>", "<answer>[[A]]"),
    "thoughts": ("", "</think>", ""),
    "answers": ("", "<answer>[[A]]</answer>", ""),
    "answers in a thought": ("", "<answer>[[A]]", "</think>"),
    "half answers": ("", "<answer>", ""),
    "answers without an end": ("", "<answer>[[", ""),
    "spaces in an answer": ("<answer>", " ", "[[A"),
    "spaces between answers": ("<answer>[[A]]", " ", "<answer>[[B]]"),
    "open quotations": ("<eval>", "<quote_A>x", ""),
    "quotations": ("<eval>", "<quote_A>x</quote_A>", "</eval>"),
    "mixed quotations": ("<eval>", "<quote_A><summary_B></quote_A>", "</eval>"),
    "refusals": ("", "!", "sorry"),
    "bars": ("", "<|", ""),
    "angle brackets": ("", "<", ""),
    "backslashes": ("", "\\", "boxed"),
    "backslashes in a tag": ("<", "\\", "answer"),
    "spaces in a tag": ("<answer", " ", ""),
    "spaces in a delimiter": ("[The", " ", ""),
    "dashes": ("", "-  ", ""),
    "speakers": ("", "[user ", ""),
    "control texts": ("", "]~b]<|im_end|>[/INST]", ""),
    "slashes": ("", "/no_", "think"),
    "braces": ("", "{{", "}"),
    "a brace and letters": ("{", "a", ""),
    "telling": ("", "i ", "am told"),
    "words": ("we", " aaaa", " told"),
}


@pytest.fixture(autouse=True)
def _without_garbage_collection() -> Iterator[None]:
    """A collection inspects every object that other tests left behind."""
    gc.disable()
    yield
    gc.enable()


def text_of(shape: tuple[str, str, str], length: int) -> str:
    head, piece, tail = shape
    return head + piece * (length // len(piece)) + tail


def exponent(work: Callable[[str], object], shape: tuple[str, str, str]) -> float:
    """The power of the length that the processor time grows with."""
    seconds: list[float] = []
    for length in (SMALL, LARGE):
        text, best = text_of(shape, length), math.inf
        for _ in range(2):
            started = time.process_time()
            work(text)
            best = min(best, time.process_time() - started)
        seconds.append(max(best, SHORTEST_S))
    return math.log(seconds[1] / seconds[0]) / math.log(LARGE / SMALL)


def render(name: str) -> Callable[[str], object]:
    pack = load_pack(name)
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}, {"role": "user", "content": "q"}]
    return lambda text: (
        pack.render(Pair.of(text, text, "b"), b"k"),
        pack.render(Pair.of(turns, text, "b", rubric=text if pack.given_rubric else None), b"k"),
        pack.prefill(Pair.of("q", "a", "b", rubric=text)),
    )


PAIR = Pair.of("q", "<quote_A>x" * 100, "b")
WORK: dict[str, Callable[[str], object]] = {
    "a reply is read": lambda text: (parse(text), parse(text, kind="free", truncated=True)),
    "a deliberation is taken": lambda text: (deliberation_of(text), escape_deliberation(text)),
    "quotations are looked up": lambda text: quotations.checked(parse(text).quotes, PAIR),
    "quotations are left out": unquoted,
    "a text is escaped": lambda text: unescape(escape(text, FIXED, speakers=True), FIXED, speakers=True),
    "a text is fenced": render("free"),
    "a text stands between fixed marks": render("world"),
    "leaks are looked for": label_leak,
}


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_time_grows_with_the_length_and_no_faster(work: Callable[[str], object]) -> None:
    exponents = {name: exponent(work, shape) for name, shape in HOSTILE.items()}
    assert not {name: power for name, power in exponents.items() if power >= MOST}


@pytest.mark.parametrize("name", ["braces", "a brace and letters", "spaces in a criterion", "dashes", "backslashes"])
def test_importing_grows_with_the_length_of_a_constant_and_no_faster(name: str, tmp_path: Path) -> None:
    source, packs = tmp_path / "prompts.py", iter(range(100))

    def work(text: str) -> None:
        asks = "{question} {answer_a} {answer_b} End with <answer>[[A]]</answer> or <answer>[[B]]</answer>. "
        source.write_text(f"P = {asks + text!r}")
        import_pack(source, tmp_path / str(next(packs)))

    assert exponent(work, HOSTILE[name]) < MOST


def test_a_rubric_of_half_a_million_spaces_is_read_at_once() -> None:
    started = time.process_time()
    parse(f"<rubric>\n1. a{' ' * 500_000}b")
    assert time.process_time() - started < 1.0
