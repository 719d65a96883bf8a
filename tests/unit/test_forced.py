"""Verdicts of one token: forced ones, and those of a glance."""

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasrm.errors import CannotContinue, EngineUnreachable, TooLong
from reasrm.judging import EngineJudge
from reasrm.judging.forced import closed
from reasrm.parsing import letter_of
from reasrm.prompts import load_pack
from reasrm.testing import ScriptedCompleter
from reasrm.types import Completion, Options, Pair, Token, Usage, Verdict

COMPACT, RUBRIC, FREE, WORLD = (load_pack(name) for name in ("compact", "rubric", "free", "world"))
PAIR = Pair.of("What is 17 + 25?", "42", "43")


def letter(p_shown_first, **more):
    """A reply of one token: how likely the letter of the response that is shown first is."""
    top = {"A": math.log(p_shown_first), "B": math.log(1 - p_shown_first)}
    return Completion(
        text=max(top, key=top.get), tokens=(Token(text="A", top=top),), usage=Usage(completion_tokens=1, requests=1), **more
    )


def judged(script, options=None, pack=RUBRIC):
    completer = ScriptedCompleter(script)
    return completer, asyncio.run(EngineJudge(completer, pack, b"k").judge(PAIR, options or Options()))


def test_a_reply_without_an_answer_is_continued_at_the_answer_tag():
    completer, judgment = judged(["<eval>A is right.</eval>", "<eval>B is.", letter(0.9), letter(0.2)])
    assert [ask.prefill for ask in completer.asks[2:]] == [
        "<eval>A is right.</eval>\n<answer>[[",
        "<eval>B is.\n</eval>\n<answer>[[",
    ]
    assert {(ask.max_tokens, ask.optional, ask.stop) for ask in completer.asks[2:]} == {(1, True, ())}
    assert (judgment.winner, judgment.probability_a, judgment.outcome.source) == ("A", pytest.approx(0.85), "forced")
    assert [opinion.reading.answer for opinion in judgment.opinions] == ["A", "A"]
    assert judgment.opinions[0].reply == "<eval>A is right.</eval>", "the reply is what the judge wrote"
    assert judgment.usage.requests == 4


def test_a_verdict_of_which_one_order_was_forced_says_so():
    _, judgment = judged(["<answer>[[A]]</answer>", "I think that the second one is right.", letter(0.1)])
    assert (judgment.winner, judgment.outcome.source) == ("A", "forced")


@pytest.mark.parametrize("text", ["I'm sorry, but I cannot judge this.", "<answer>[[A]]</answer> or <answer>[[B]]</answer>"])
def test_a_judge_that_refuses_or_answers_both_is_not_forced(text):
    completer, judgment = judged([text])
    assert judgment.winner is None
    assert len(completer.asks) == 2


def test_forcing_can_be_turned_off():
    completer, judgment = judged(["no answer here"], Options(forced=False))
    assert (judgment.outcome.reason, len(completer.asks)) == ("no_answer", 2)


@pytest.mark.parametrize("error", [CannotContinue("it refuses continue_final_message"), TooLong("the context is full")])
def test_an_engine_that_cannot_continue_leaves_the_reply_without_a_verdict(error):
    def answer(ask):
        return error if ask.optional else "<eval>I do not know.</eval>"

    _, judgment = judged(answer)
    assert judgment.outcome.reason == "no_answer"


def test_an_engine_that_is_away_when_a_verdict_is_forced_fails_the_judgment():
    _, judgment = judged(lambda ask: EngineUnreachable("away") if ask.optional else "<eval>I do not know.</eval>")
    assert judgment.outcome.reason == "engine_failed"


def test_a_token_that_is_no_letter_forces_nothing():
    _, judgment = judged(lambda ask: Completion(text="C", tokens=(Token(text="C", top={"C": -0.1}),)) if ask.optional else "hm")
    assert judgment.outcome.reason == "no_answer"


@pytest.mark.parametrize(("p", "winner"), [(0.9, "A"), (0.2, None)])
def test_a_forced_verdict_never_contradicts_the_answer_that_the_judge_wrote_without_its_tag(p, winner):
    _, judgment = judged(["I think so.\n**[[A]]**", letter(p)], Options(orders="ab"))
    assert judgment.winner == winner


def test_votes_without_an_answer_are_forced_too():
    script = ["<answer>[[A]]</answer>", "nothing", "<answer>[[A]]</answer>", "nothing", letter(0.9), letter(0.8)]
    _, judgment = judged(script, Options(votes=4, temperature=1.0))
    assert [opinion.outcome.winner for opinion in judgment.opinions] == ["A", "B", "A", "B"]
    assert judgment.outcome.reason == "split", "the orders contradict each other: the judge names what stands first"


@pytest.mark.parametrize(
    ("reply", "kind", "begun"),
    [
        ("", "rubric", ""),
        ("I prefer A", "rubric", "I prefer A\n"),
        ("<eval>x</eval>\n<answer>", "rubric", "<eval>x</eval>\n"),
        ("<eval>x</eval>\n<answer>[[", "rubric", "<eval>x</eval>\n"),
        ("So A wins.\n\n[[A]]", "rubric", "So A wins.\n"),
        ("<rubric>1. a", "rubric", "<rubric>1. a\n</rubric>\n"),
        ("<eval>x</eva", "rubric", "<eval>x\n</eval>\n"),
        ("first I look", "free", "first I look\n</think>\n\n"),
        ("<think>first", "rubric", "<think>first\n</think>\n\n"),
        ("first</think>\nso", "free", "first</think>\nso\n"),
    ],
)
def test_a_reply_is_closed_before_the_answer_tag(reply, kind, begun):
    assert closed(reply, kind) == begun


@given(st.text(alphabet="<>/[]abeilnrsuvwt \n", max_size=200), st.sampled_from(["rubric", "free"]))
def test_any_reply_can_be_closed(reply, kind):
    assert closed(reply, kind).startswith(reply.rstrip()[: max(0, len(reply.rstrip()) - 40)].rstrip())


def test_a_glance_asks_for_one_token_per_order_and_averages_the_log_odds():
    completer, judgment = judged([letter(0.9), letter(0.6)], pack=COMPACT)
    assert [(ask.prefill, ask.max_tokens, ask.order) for ask in completer.asks] == [
        ("<answer>[[", 1, "ab"),
        ("<answer>[[", 1, "ba"),
    ]
    odds = (math.log(0.9 / 0.1) + math.log(0.4 / 0.6)) / 2
    expected = ("A", pytest.approx(1 / (1 + math.exp(-odds))), "logprobs")
    assert (judgment.winner, judgment.probability_a, judgment.outcome.source) == expected
    assert judgment.order_consistent is False
    assert judgment.usage.completion_tokens == 2


def test_a_constant_position_bias_cancels_in_a_glance():
    bias, truth = 2.0, 0.3  # log-odds of what stands first, and of A over B

    def answer(ask):
        odds = bias + (truth if ask.order == "ab" else -truth)
        return letter(1 / (1 + math.exp(-odds)))

    _, judgment = judged(answer, Options(reasoning="off"))
    assert judgment.winner == "A"
    assert judgment.probability_a == pytest.approx(1 / (1 + math.exp(-truth)))


def test_an_engine_that_cannot_continue_writes_the_tag_of_a_glance_itself():
    def answer(ask):
        return CannotContinue("no") if ask.optional else f"<answer>[[{'A' if ask.order == 'ab' else 'B'}]]</answer>"

    completer, judgment = judged(answer, pack=COMPACT)
    assert judgment.outcome == Verdict(winner="A", probability_a=1.0, source="votes")
    assert [(ask.prefill, ask.max_tokens) for ask in completer.asks[2:]] == [("", 16), ("", 16)]


def test_a_glance_without_log_probabilities_that_contradicts_itself_is_a_split():
    _, judgment = judged([Completion(text="A"), Completion(text="A")], pack=COMPACT)
    assert judgment.outcome.reason == "split"


def test_a_glance_that_shows_neither_letter_is_no_verdict():
    other = Completion(text="The", tokens=(Token(text="The", top={"The": -0.1, "It": -3.0}),))
    _, judgment = judged([letter(0.9), other], pack=COMPACT)
    assert judgment.outcome.reason == "no_answer"


def test_the_pack_says_whether_its_judge_reasons_and_the_caller_may_say_otherwise():
    assert judged(["<answer>[[A]]</answer>"], Options(reasoning="on"), COMPACT)[0].asks[0].prefill == ""
    assert judged([letter(0.9), letter(0.2)], Options(reasoning="off"), WORLD)[0].asks[0].prefill == "<answer>[["
    assert (
        judged([letter(0.9), letter(0.2)], Options(reasoning="off"), FREE)[0].asks[0].prefill == "<think>\n</think>\n\n<answer>[["
    )


def test_a_glance_has_no_votes():
    with pytest.raises(ValueError, match="needs reasoning"):
        Options(votes=3, temperature=1.0, reasoning="off")


def test_a_glance_begins_with_the_rubric_of_the_caller():
    pair = PAIR.model_copy(update={"rubric": "1. It is right."})
    completer = ScriptedCompleter([letter(0.9), letter(0.2)])
    asyncio.run(EngineJudge(completer, COMPACT, b"k").judge(pair, Options()))
    assert completer.asks[0].prefill == "<type>Chat</type>\n<rubric>\n1. It is right.\n</rubric>\n<answer>[["


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        ({"A": math.log(0.6), "B": math.log(0.2)}, ("A", 0.75)),
        ({"A": math.log(0.3), " A": math.log(0.3), "B": math.log(0.2)}, ("A", 0.75)),
        ({"B": math.log(0.9), "The": math.log(0.05)}, ("B", 0.05 / 0.95)),
        ({"B]]": math.log(0.6), "a": math.log(0.2), "Both": math.log(0.1)}, ("B", 0.25)),
        ({"The": -0.1}, (None, 0.5)),
        ({"The": math.log(0.6), "A": math.log(0.3), "B": math.log(0.1)}, (None, 0.5)),
    ],
)
def test_every_spelling_of_a_letter_counts(top, expected):
    side, share = letter_of(Completion(text="x", tokens=(Token(text="x", top=top),)))
    assert (side, share) == (expected[0], pytest.approx(expected[1]))
