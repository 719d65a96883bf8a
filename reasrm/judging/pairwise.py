"""One reply per order; with both orders the probabilities are averaged, which cancels a constant position bias in them."""

from __future__ import annotations

from collections.abc import Sequence

from reasrm.judging.opinions import Flow, ask_for, judgment_of, opinion_of, verdict_of, why_none
from reasrm.parsing import deliberation_of
from reasrm.prompts import Pack
from reasrm.types import Answer, NoVerdict, Opinion, Options, Order, Outcome, Pair, Verdict


def pairwise(pair: Pair, options: Options, pack: Pack, key: bytes) -> Flow:
    """Judge `pair` in one order or in both.

    Both requests run concurrently, unless the second continues the first one's deliberation (`options.reuse`, by default where the
    pack was trained for it). If one order gives no verdict, the other's stands alone (`order_consistent` is then None). The
    averaged probability decides, and names the winner also where a sampled reply named the less probable side; an exactly even
    result is `NoVerdict("split")`.
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
        opinions += [opinion_of(pair, ask, reply, pack) for ask, reply in zip(asks, replies, strict=True)]
        answers += replies
        seconds += max(reply.seconds for reply in replies)
    return judgment_of(_averaged(opinions), opinions, answers, pack, seconds)


def _averaged(opinions: Sequence[Opinion]) -> Outcome:
    verdicts = [opinion.outcome for opinion in opinions if isinstance(opinion.outcome, Verdict)]
    if not verdicts:
        return why_none(opinions)
    probability = sum(verdict.probability_a for verdict in verdicts) / len(verdicts)
    if probability == 0.5:
        return NoVerdict(reason="split", detail="the two sides weigh the same")
    by_logprobs = all(verdict.source == "logprobs" for verdict in verdicts)
    return verdict_of(probability, "logprobs" if by_logprobs else "votes")
