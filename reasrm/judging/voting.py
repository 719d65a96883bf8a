"""voting@k: sample k replies and count them.

All k requests run concurrently. Stopping as soon as the majority is decided would save replies, but the share of votes at that
moment is biased away from one half: a side with a true share of 0.7 and k = 5 gets 0.728 on average, and 37 % of the shares are 0
or 1 instead of 17 % (Girshick, Mosteller and Savage 1946 describe the bias of such stopping rules).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from reasrm.judging.forced import forced
from reasrm.judging.opinions import Flow, ask_for, judgment_of, opinion_of, verdict_of, why_none
from reasrm.prompts import Pack
from reasrm.types import Answer, Ask, NoVerdict, Opinion, Options, Order, Outcome, Pair, Verdict


def voting(pair: Pair, options: Options, pack: Pack, key: bytes) -> Flow:
    """Judge `pair` by `options.votes` sampled replies; with both orders they alternate.

    P(A) is the share of the votes for A, and with both orders the mean of the two orders' shares: a constant position bias cancels
    also where the number of votes is odd. A reply without an answer is continued at the answer tag (`options.forced`), and counts
    for neither side where that gives none; an order without any vote leaves the judgment without a verdict. Exactly even is
    `NoVerdict("split")`.
    """
    turns: tuple[Order, ...] = ("ab", "ba") if options.orders == "both" else ("ab",)
    shown: dict[Order, Ask] = {order: ask_for(pair, order, options, pack, key) for order in turns}
    asks = [_seeded(shown[turns[vote % len(turns)]], vote) for vote in range(options.votes)]
    answers: list[Answer] = yield asks
    read = [opinion_of(pair, ask, answer, pack) for ask, answer in zip(asks, answers, strict=True)]
    opinions = yield from forced(asks, answers, read, options, pack)
    return judgment_of(_counted(opinions, len(shown)), opinions, answers, pack, max(opinion.seconds for opinion in opinions))


def _seeded(ask: Ask, vote: int) -> Ask:
    """`ask` with another seed, so that votes differ, and repeat in a second run."""
    return ask if vote == 0 or ask.seed is None else ask.model_copy(update={"seed": ask.seed + vote})


def _counted(opinions: Sequence[Opinion], orders: int) -> Outcome:
    votes: dict[Order, list[bool]] = {}
    for opinion in opinions:
        if isinstance(opinion.outcome, Verdict):
            votes.setdefault(opinion.order, []).append(opinion.outcome.winner == "A")
    if len(votes) < orders:
        return why_none(opinions)
    probability = sum(sum(for_a) / len(for_a) for for_a in votes.values()) / len(votes)
    if math.isclose(probability, 0.5, abs_tol=1e-12):
        return NoVerdict(reason="split", detail="the votes weigh the same for each side")
    return verdict_of(probability, "votes")
