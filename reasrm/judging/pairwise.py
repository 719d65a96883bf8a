"""One reply per order; with both orders the probabilities are averaged, which cancels a constant position bias in them."""

from __future__ import annotations

from collections.abc import Sequence

from reasrm.judging.forced import forced
from reasrm.judging.opinions import Flow, ask_for, judgment_of, opinion_of, source_of, verdict_of, why_none
from reasrm.parsing import deliberation_of
from reasrm.prompts import Pack
from reasrm.types import Answer, NoVerdict, Opinion, Options, Order, Outcome, Pair, Verdict


def pairwise(pair: Pair, options: Options, pack: Pack, key: bytes) -> Flow:
    """Judge `pair` in one order or in both.

    Both requests run concurrently, unless the second continues the first one's deliberation (`options.reuse`, by default where the
    pack was trained for it). A reply without an answer is continued at the answer tag (`options.forced`); an order that has no
    verdict even so leaves the judgment without one, because the other alone would carry the judge's position bias.

    The averaged probability decides, and names the winner also where a sampled reply named the less probable side. It is
    `NoVerdict("split")` where it is exactly even, or within `options.split_band` of even while the orders contradict each other.
    """
    orders: tuple[Order, ...] = ("ab", "ba") if options.orders == "both" else ("ab",)
    reuse = pack.reuse if options.reuse is None else options.reuse
    waves = [orders[:1], orders[1:]] if reuse and options.deliberation is None else [orders]
    opinions: list[Opinion] = []
    answers: list[Answer] = []
    seconds = 0.0
    for wave in filter(None, waves):
        if opinions:
            options = options.model_copy(update={"deliberation": deliberation_of(opinions[0].reply)})
        asks = [ask_for(pair, order, options, pack, key) for order in wave]
        replies = yield asks
        read = [opinion_of(pair, ask, reply, pack) for ask, reply in zip(asks, replies, strict=True)]
        answered = yield from forced(asks, replies, read, options, pack)
        opinions += answered
        answers += replies
        seconds += max(opinion.seconds for opinion in answered)
    return judgment_of(_averaged(opinions, options.split_band), opinions, answers, pack, seconds)


def _averaged(opinions: Sequence[Opinion], split_band: float) -> Outcome:
    verdicts = [opinion.outcome for opinion in opinions if isinstance(opinion.outcome, Verdict)]
    if len(verdicts) < len(opinions):
        return why_none(opinions)
    probability = sum(verdict.probability_a for verdict in verdicts) / len(verdicts)
    if probability == 0.5:
        return NoVerdict(reason="split", detail="the two sides weigh the same")
    if len({verdict.winner for verdict in verdicts}) > 1 and abs(probability - 0.5) < split_band:
        each = ", ".join(
            f"{opinion.order} {verdict.probability_a:.2f}" for opinion, verdict in zip(opinions, verdicts, strict=True)
        )
        return NoVerdict(reason="split", detail=f"the orders contradict each other: P(A) by order {each}")
    return verdict_of(probability, source_of(verdicts))
