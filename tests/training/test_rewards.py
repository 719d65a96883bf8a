"""The rewards are pure functions. Cases test each of them; the verdict is the one that the parser of the library reads."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reasrm_training.rewards import (
    REWARDS,
    JudgeRollout,
    consistency,
    format_,
    length,
    margin,
    score,
    total,
    twins,
    verdict,
    well_formed,
)

from reasrm.parsing import parse
from reasrm.types import other

CHAT = "<type>Chat</type><rubric>1. Tone (100%)</rubric><eval>A is kinder</eval><answer>[[A]]</answer>"
REASONING = "<type>Reasoning</type>\n<solution>\n42\n</solution>\n<eval>B says 42</eval>\n<answer>[[B]]</answer>\n"


SENTENCE = "I weigh whether <answer>[[A]]</answer>"
VERDICT_CASES = [
    ("<answer>[[A]]</answer>", "rubric", False),
    ("<answer>[[A]]</answer><answer>[[B]]</answer>", "rubric", False),  # both
    ("<answer>[[B]]</answer>" + "x" * 80 + "<answer>[[A]]</answer>", "rubric", False),  # both, far from each other
    ("<answer>[[A]]</answer>" + " " * 200, "rubric", False),
    ("<answer> [[a]] </answer>", "rubric", False),
    ("A is better", "rubric", False),
    ("", "rubric", False),
    (SENTENCE, "rubric", True),
    ("<answer>[[A]]</answer>" * 3, "rubric", True),
    (CHAT, "rubric", True),
    (SENTENCE, "free", False),  # the thought is still open
    (f"{SENTENCE}</think>", "free", False),
    (f"{SENTENCE}</think><answer>[[B]]</answer>", "free", False),
    (f"{SENTENCE}</think>\n<answer>[[B]]</answer>", "free", True),
]


@pytest.mark.parametrize(("reply", "kind", "truncated"), VERDICT_CASES)
def test_training_rewards_the_verdict_that_the_parser_reads_at_inference(reply: str, kind: str, truncated: bool):
    answer = parse(reply, kind=kind, truncated=truncated).answer  # type: ignore[arg-type]
    for gold in ("A", "B"):
        assert verdict(JudgeRollout(reply, gold, kind, truncated=truncated)) == (1.0 if gold == answer else -1.0)  # type: ignore[arg-type]


def test_a_reply_that_hit_the_token_limit_before_its_verdict_earns_nothing():
    assert verdict(JudgeRollout(SENTENCE, "A", truncated=True)) == -1.0
    assert verdict(JudgeRollout(CHAT, "A", truncated=True)) == 1.0
    whole, cut = JudgeRollout(CHAT, "A"), JudgeRollout("so <answer>[[B]]</answer>", "B", truncated=True)
    assert consistency(replace(whole, twin=cut)) == -1.0
    assert consistency(replace(whole, twin=replace(cut, truncated=False))) == 1.0


def test_a_reply_is_right_both_ways_only_with_a_twin_that_is_right_in_its_own_frame():
    a, b = "<answer>[[A]]</answer>", "<answer>[[B]]</answer>"
    right, wrong = JudgeRollout(b, "B"), JudgeRollout(a, "B")
    assert consistency(JudgeRollout(a, "A", twin=right)) == 1.0
    assert consistency(JudgeRollout(a, "A", twin=wrong)) == -1.0  # names the first response both times
    assert consistency(JudgeRollout(b, "A", twin=right)) == -1.0
    assert consistency(JudgeRollout(a, "A")) is None


def test_margins_weigh_the_verdict_by_the_labels_strength():
    assert margin(JudgeRollout("<answer>[[A]]</answer>", "A", strength=0.25)) == 0.25
    assert margin(JudgeRollout("<answer>[[A]]</answer>", "B", strength=0.25)) == -0.25
    assert margin(JudgeRollout("<answer>[[A]]</answer>", "A")) is None


@pytest.mark.parametrize(("tokens", "price"), [(0, 0.0), (50, 0.0), (75, -0.5), (100, -1.0), (130, -1.0)])
def test_a_length_costs_nothing_up_to_half_of_the_limit_and_one_at_the_limit(tokens: int, price: float):
    assert length(JudgeRollout("", "A", tokens=tokens, limit=100)) == price


@pytest.mark.parametrize(
    ("reply", "kind", "formed"),
    [
        (CHAT, "rubric", True),
        (REASONING, "rubric", True),
        ("thoughts</think><answer>[[A]]</answer>", "free", True),
        (" \n</think><answer>[[A]]</answer>", "free", False),  # no thoughts
        ("so </think> so\n</think> then\n<answer> [[B]] </answer>\n", "free", True),
        ("thoughts</think><answer>[[A]]</answer> So there.", "free", False),
        ("</think><answer>[[A]]</answer>", "free", False),
        ("<answer>[[A]]</answer>", "rubric", False),
        ("<answer>[[A]]</answer>", "free", False),
        (CHAT.replace("rubric>", "solution>"), "rubric", False),  # a chat task needs a rubric
        (CHAT + " So there.", "rubric", False),
        (CHAT.replace("<eval>", "<eval>x</eval><eval>"), "rubric", False),  # a part twice
        (CHAT.replace("[[A]]", "[[C]]"), "rubric", False),
    ],
)
def test_a_reply_is_well_formed_if_it_is_its_parts_and_nothing_else(reply: str, kind: str, formed: bool):
    assert well_formed(reply, kind) is formed  # type: ignore[arg-type]
    assert format_(JudgeRollout(reply, "A", kind)) == (1.0 if formed else -1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["rubric", "free"])
@pytest.mark.parametrize(
    "piece",
    [
        "so ",
        "\n",
        "</think>",
        "</think><answer>",
        "<answer>",
        "</rubric>",
        "</rubric><eval>",
        "</eval><answer>",
        "</rubric>\n<eval> ",
    ],
)
def test_a_reply_that_repeats_itself_to_the_limit_is_checked_in_linear_time(kind: str, piece: str):
    reply = "<type>Chat</type><rubric>" * (kind == "rubric") + piece * (150_000 // len(piece))
    started = time.process_time()
    assert not well_formed(reply, kind)  # type: ignore[arg-type]
    assert time.process_time() - started < 0.5


def test_rewards_are_summed_by_their_weights_and_one_that_does_not_apply_is_left_out():
    weights = {"verdict": 1.0, "format": 0.5, "margin": 9.0}
    parts = score(JudgeRollout(CHAT, "A"), weights)  # type: ignore[arg-type]
    assert parts == {"verdict": 1.0, "format": 1.0, "margin": None}
    assert total(parts, weights) == 1.5  # type: ignore[arg-type]
    assert total({"margin": None}, {"margin": 1.0}) is None


def test_the_replies_of_one_number_to_the_two_orders_of_a_pair_are_twins():
    keys = [("p", "ab"), ("p", "ab"), ("q", "ab"), ("p", "ba"), ("p", "ba"), ("p", "ba")]
    assert twins(keys) == [3, 4, None, 0, 1, None]  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.sampled_from("pqr"), st.sampled_from(["ab", "ba"]))))
def test_twins_are_mutual_and_of_one_pair_in_different_orders(keys: list[tuple[str, str]]):
    indices = twins(keys)  # type: ignore[arg-type]
    for i, j in enumerate(indices):
        if j is not None:
            assert indices[j] == i
            assert keys[i][0] == keys[j][0]
            assert keys[i][1] != keys[j][1]


@given(st.text(), st.sampled_from(["A", "B"]), st.sampled_from(["rubric", "free"]))
def test_rewards_take_any_text_and_stay_within_one(reply: str, gold: str, kind: str):
    for reward in REWARDS.values():
        twin = JudgeRollout(reply, other(gold), kind, truncated=True)  # type: ignore[arg-type]
        value = reward(JudgeRollout(reply, gold, kind, tokens=3, limit=9, strength=0.5, twin=twin))  # type: ignore[arg-type]
        assert value is not None
        assert -1.0 <= value <= 1.0
