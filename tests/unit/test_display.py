"""A judgment on the terminal: readable, complete, and never markup."""

import io
import json
import re
from typing import get_args

from rich.console import Console

from reasrm.display import _MEANING, judgment_panel, ranking_table
from reasrm.parsing import parse
from reasrm.types import Comparison, Judgment, NoVerdict, Opinion, Ranking, Reading, Reason, Standing, Verdict
from reasrm.wording import sure, terminal_json

REPLY = """<type>Chat</type>
<rubric>
1. Kindness (60%): is it kind?
2. Brevity (40%)
<justify>because [bold]kind[/bold] wins</justify>
</rubric>
<eval><quote_A>my friend</quote_A></eval>
<answer>[[A]]</answer>"""


def shown(judgment):
    console = Console(width=100, record=True, file=io.StringIO(), color_system=None)
    console.print(judgment_panel(judgment))
    return console.export_text()


def judgment(outcome, *orders):
    opinions = tuple(Opinion(order=order, outcome=result, reading=parse(REPLY), reply=REPLY) for order, result in orders)
    return Judgment(outcome=outcome, opinions=opinions, model="judge", weight_version="3", prompt_digest="rubric@1", seconds=0.25)


def test_rubric_weights_verdict_and_confidence_are_shown_and_markup_is_text():
    verdict = Verdict(winner="A", probability_a=0.8, source="logprobs")
    text = shown(judgment(verdict, ("ab", verdict), ("ba", verdict)))
    for part in (
        "Kindness: is it kind? (60%)",
        "[bold]kind[/bold]",
        "A is better",
        "80.0 % by logprobs",
        "both orders agree",
        "weights 3",
    ):
        assert part in text


def test_orders_that_disagree_are_reported():
    one, two = (Verdict(winner=side, probability_a=p, source="logprobs") for side, p in (("A", 0.9), ("B", 0.4)))
    assert "the two orders disagree" in shown(judgment(one, ("ab", one), ("ba", two)))


def test_no_verdict_is_shown_with_its_reason_in_words():
    assert "truncated: the token limit came before the answer" in shown(judgment(NoVerdict(reason="truncated")))


def test_every_reason_has_words():
    assert set(_MEANING) >= set(get_args(Reason))


def test_a_probability_is_never_rounded_up_to_certainty():
    assert [sure(p) for p in (0.99996, 0.0004, 0.8, 1.0)] == ["> 99.9 %", "> 99.9 %", "80.0 %", "100.0 %"]
    verdict = Verdict(winner="A", probability_a=0.99996, source="logprobs")
    assert "A is better  > 99.9 % by logprobs" in shown(judgment(verdict, ("ab", verdict)))


def test_a_text_cannot_control_the_terminal():
    hostile = "\x1b]0;title\x07\x9b2J\u202eabc\x00"
    verdict = Verdict(winner="A", probability_a=0.8, source="logprobs")
    opinion = Opinion(order="ab", outcome=verdict, reading=Reading(solution=hostile), reply=hostile)
    text = shown(Judgment(outcome=verdict, opinions=(opinion,), model=hostile))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert "␛]0;title␇\\u009b2J\\u202eabc␀" in text
    assert json.loads(terminal_json({"text": hostile})) == {"text": hostile}
    assert terminal_json("\x9b\u202e\x7f") == r'"\u009b\u202e\u007f"'


def group(*pairs):
    """A ranking of three responses, of which the last has no reward."""
    standings = (
        Standing(index=0, reward=0.4624, stderr=0.1, comparisons=2, place=1),
        Standing(index=1, reward=0.4624, stderr=0.1, comparisons=2, place=1),
        Standing(index=2, reward=None),
    )
    comparisons = tuple(Comparison(i=i, j=j, judgment=Judgment(outcome=outcome)) for i, j, outcome in pairs)
    return Ranking(standings=standings, order=(0, 1), comparisons=comparisons, method="swiss")


def printed(ranking, width):
    console = Console(width=width, record=True, file=io.StringIO(), color_system=None)
    console.print(ranking_table(ranking, ["first \x1b[2J", "second", [{"role": "assistant", "content": "third"}]]))
    return console.export_text()


def test_a_response_without_a_reward_says_why():
    truncated, none = NoVerdict(reason="truncated"), NoVerdict(reason="no_answer")
    text = " ".join(printed(group((0, 2, truncated), (1, 2, none), (2, 1, truncated)), 200).split())
    assert "response 3 has no reward: truncated: the token limit came before the answer, 2 of 3 comparisons" in text
    assert "no_answer: the reply ends without an answer, 1 of 3 comparisons" in text
    assert "it was not compared within the budget" in " ".join(printed(group(), 200).split())


def test_rewards_are_whole_in_a_narrow_terminal():
    text = printed(group(), 40)
    assert text.count("+0.462") == 2
    assert all(len(line) <= 40 for line in text.splitlines())


def test_responses_of_equal_reward_share_a_place():
    assert [line.split()[0] for line in printed(group(), 100).splitlines()[1:4]] == ["1", "1", "-"]
