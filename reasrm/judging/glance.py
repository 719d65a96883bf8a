"""A glance: the verdict's log-odds without any reasoning, one token per order, averaged over both orders.

A constant position bias adds the same number to the log-odds of the side that is shown first, so it cancels in the mean over both
orders, where a vote of the two orders would be even. No small untrained judge that was measured gained by reasoning first (LAB.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from reasrm.judging.forced import letter_ask
from reasrm.judging.opinions import Flow, ask_for, judgment_of, opinion_of, verdict_of, why_none
from reasrm.parsing import letter_of
from reasrm.prompts import Pack
from reasrm.types import Answer, Ask, Failure, NoVerdict, Opinion, Options, Order, Outcome, Pair, Reading, Verdict

WHOLE_ANSWER = r"(<answer>\[\[A\]\]</answer>|<answer>\[\[B\]\]</answer>)"
SHORT = 16  # tokens of a whole answer tag, where the engine cannot continue one
_FLOOR = 1e-6  # of a probability, so that one order never outweighs any other


def glance(pair: Pair, options: Options, pack: Pack, key: bytes) -> Flow:
    """Judge `pair` by the letter that follows the answer tag. An engine that cannot continue a reply writes the tag itself.

    Where the engine gives no log-probabilities each order has one vote, and orders that contradict each other are a split.
    """
    orders: tuple[Order, ...] = ("ab", "ba") if options.orders == "both" else ("ab",)
    greedy = options.model_copy(update={"temperature": 0.0, "max_tokens": SHORT})
    whole = [ask_for(pair, order, greedy, pack, key, glance=True) for order in orders]
    asks = [letter_ask(ask, _begun(ask, pack)) for ask in whole]
    answers = yield asks
    seconds = max(answer.seconds for answer in answers)
    if any(isinstance(answer, Failure) and answer.no_verdict.reason == "refused_by_engine" for answer in answers):
        answers = yield [ask.model_copy(update={"pattern": WHOLE_ANSWER}) for ask in whole]
        opinions = [opinion_of(pair, ask, answer, pack) for ask, answer in zip(whole, answers, strict=True)]
    else:
        opinions = [_opinion(ask, answer) for ask, answer in zip(asks, answers, strict=True)]
    return judgment_of(_mean(opinions, len(orders)), opinions, answers, pack, seconds)


def _begun(ask: Ask, pack: Pack) -> str:
    """What stands before the answer tag: the caller's rubric or deliberation, and an empty thought where the judge would think."""
    return ask.prefill or ("<think>\n</think>\n\n" if pack.kind == "free" else "")


def _opinion(ask: Ask, answer: Answer) -> Opinion:
    if isinstance(answer, Failure):
        return Opinion(order=ask.order, outcome=answer.no_verdict, reading=Reading(), reply="", seconds=answer.seconds)
    letter, probability = letter_of(answer)
    outcome: Outcome = NoVerdict(reason="no_answer", detail="neither letter is likely after the answer tag")
    if letter is not None:
        outcome = Verdict(winner=letter, probability_a=probability, source="logprobs" if answer.tokens else "votes")
        outcome = outcome.swapped() if ask.order == "ba" else outcome
    reading = Reading(
        answer=outcome.winner if isinstance(outcome, Verdict) else None,
        no_verdict=outcome if isinstance(outcome, NoVerdict) else None,
    )
    reply = ask.prefill + answer.text
    return Opinion(order=ask.order, outcome=outcome, reading=reading, reply=reply, usage=answer.usage, seconds=answer.seconds)


def _mean(opinions: Sequence[Opinion], orders: int) -> Outcome:
    """The verdict of the mean log-odds. Every order must have one: a single order has the judge's position bias."""
    verdicts = [opinion.outcome for opinion in opinions if isinstance(opinion.outcome, Verdict)]
    if len(verdicts) < orders:
        return why_none(opinions)
    by_logprobs = all(verdict.source == "logprobs" for verdict in verdicts)
    if by_logprobs:
        odds = sum(_log_odds(verdict.probability_a) for verdict in verdicts) / orders
        probability = 1.0 / (1.0 + math.exp(-odds))
    else:
        probability = sum(verdict.probability_a for verdict in verdicts) / orders
    if math.isclose(probability, 0.5, abs_tol=1e-9):
        return NoVerdict(reason="split", detail="the two orders weigh the same")
    return verdict_of(probability, "logprobs" if by_logprobs else "votes")


def _log_odds(probability: float) -> float:
    bounded = min(max(probability, _FLOOR), 1.0 - _FLOOR)
    return math.log(bounded / (1.0 - bounded))
