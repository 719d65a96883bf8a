"""voting@k: sample up to k replies and take the majority, asking for no reply that can no longer change it."""

from __future__ import annotations

from collections.abc import Sequence

from reasrm.judging.opinions import Flow, ask_for, judgment_of, opinion_of, why_none
from reasrm.prompts import Pack
from reasrm.types import Answer, Ask, NoVerdict, Opinion, Options, Order, Outcome, Pair, Verdict


def voting(pair: Pair, options: Options, pack: Pack, key: bytes) -> Flow:
    """Judge `pair` by the majority of at most `options.votes` sampled replies; with both orders they alternate.

    Each wave is as large as the fewest votes that could decide, so that no vote is asked for in vain. A reply without a verdict
    is spent: it counts for neither side. An even end is `NoVerdict("split")`.
    """
    opinions: list[Opinion] = []
    answers: list[Answer] = []
    seconds = 0.0
    turns: tuple[Order, ...] = ("ab", "ba") if options.orders == "both" else ("ab",)
    shown: dict[Order, Ask] = {order: ask_for(pair, order, options, pack, key) for order in turns}
    while wave := fewest_to_decide(opinions, options.votes):
        votes = range(len(opinions), len(opinions) + wave)
        orders: list[Order] = [turns[vote % len(turns)] for vote in votes]
        asks = [_seeded(shown[order], vote) for vote, order in zip(votes, orders, strict=True)]
        got = yield asks
        opinions += [opinion_of(ask, order, answer, pack) for ask, order, answer in zip(asks, orders, got, strict=True)]
        answers += got
        seconds += max(answer.seconds for answer in got)
    return judgment_of(_majority(opinions), opinions, answers, pack, seconds)


def _seeded(ask: Ask, vote: int) -> Ask:
    """`ask` with its seed moved on, so that votes differ and repeat."""
    return ask if vote == 0 or ask.seed is None else ask.model_copy(update={"seed": ask.seed + vote})


def _count(opinions: Sequence[Opinion]) -> tuple[int, int]:
    winners = [opinion.outcome.winner for opinion in opinions if isinstance(opinion.outcome, Verdict)]
    return winners.count("A"), winners.count("B")


def fewest_to_decide(opinions: Sequence[Opinion], votes: int) -> int:
    """How many more votes could settle the majority of `votes`; 0 once the lead exceeds what is left, or nothing is left."""
    a, b = _count(opinions)
    left = votes - len(opinions)
    lead = abs(a - b)
    if lead > left:
        return 0
    # After n more votes for the leader the lead is lead + n, and left - n remain: decided when lead + n > left - n.
    return min(left, (left - lead) // 2 + 1)


def _majority(opinions: Sequence[Opinion]) -> Outcome:
    a, b = _count(opinions)
    if a + b == 0:
        return why_none(opinions)
    if a == b:
        return NoVerdict(reason="split", detail=f"{a} votes for each side")
    return Verdict(winner="A" if a > b else "B", probability_a=a / (a + b), source="votes")
