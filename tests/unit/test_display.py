"""A judgment on the terminal: readable, complete, and never markup."""

import io
from typing import get_args

from rich.console import Console

from reasrm.display import _MEANING, judgment_panel
from reasrm.parsing import parse
from reasrm.types import Judgment, NoVerdict, Opinion, Reason, Verdict

REPLY = """<type>Chat</type>
<rubric>
1. Kindness (60%): is it kind?
2. Brevity (40%)
<justify>because [bold]kind[/bold] wins</justify>
</rubric>
<eval><quote_A>dear friend</quote_A></eval>
<answer>[[A]]</answer>"""


def shown(judgment):
    console = Console(width=100, record=True, file=io.StringIO(), color_system=None)
    console.print(judgment_panel(judgment))
    return console.export_text()


def judgment(outcome, *orders):
    opinions = tuple(Opinion(order=order, outcome=each, reading=parse(REPLY), reply=REPLY) for order, each in orders)
    return Judgment(outcome=outcome, opinions=opinions, model="judge", weight_version="3", prompt_digest="rubric@1", seconds=0.25)


def test_rubric_weights_verdict_and_confidence_are_shown_and_markup_is_text():
    verdict = Verdict(winner="A", probability_a=0.8, source="logprobs")
    text = shown(judgment(verdict, ("ab", verdict), ("ba", verdict)))
    for part in (
        "Kindness: is it kind? (60%)",
        "[bold]kind[/bold]",
        "A is better",
        "80.0% by logprobs",
        "both orders agree",
        "weights 3",
    ):
        assert part in text


def test_orders_that_disagree_are_said():
    one, two = (Verdict(winner=side, probability_a=p, source="logprobs") for side, p in (("A", 0.9), ("B", 0.4)))
    assert "the two orders disagree" in shown(judgment(one, ("ab", one), ("ba", two)))


def test_no_verdict_is_shown_with_its_reason_in_words():
    assert "truncated: the token limit came before the answer" in shown(judgment(NoVerdict(reason="truncated")))


def test_every_reason_has_words():
    assert set(_MEANING) == set(get_args(Reason))
