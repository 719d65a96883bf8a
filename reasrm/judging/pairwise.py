"""One reply an order; with both orders the probabilities are averaged, which cancels a constant position bias in them."""

from __future__ import annotations

from collections.abc import Sequence

from reasrm.judging.opinions import Flow, ask_for, judgment_of, opinion_of, why_none
from reasrm.parsing import deliberation_of
from reasrm.prompts import Pack
from reasrm.types import Answer, NoVerdict, Opinion, Options, Order, Outcome, Pair, Verdict


def pairwise(pair: Pair, options: Options, pack: Pack, key: bytes) -> Flow:
    """Judge `pair` in one order or in both.

    Both are asked at once, unless the second continues the first one's deliberation (`options.reuse`, by default where the pack
    was trained for it). Where one order gives no verdict the other's stands alone (`order_consistent` is then None). Where the
    orders disagree the averaged probability decides; exactly even is `NoVerdict("split")`.
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
        got = yield asks
        opinions += [opinion_of(ask, order, answer, pack) for ask, order, answer in zip(asks, wave, got, strict=True)]
        answers += got
        seconds += max(answer.seconds for answer in got)
    return judgment_of(_averaged(opinions), opinions, answers, pack, seconds)


def _averaged(opinions: Sequence[Opinion]) -> Outcome:
    verdicts = [opinion.outcome for opinion in opinions if isinstance(opinion.outcome, Verdict)]
    if not verdicts:
        return why_none(opinions)
    if len(verdicts) == 1:
        return verdicts[0]
    probability = sum(verdict.probability_a for verdict in verdicts) / len(verdicts)
    if probability == 0.5:
        return NoVerdict(reason="split", detail="the two orders disagree and weigh the same")
    by_logprobs = all(verdict.source == "logprobs" for verdict in verdicts)
    return Verdict(
        winner="A" if probability > 0.5 else "B",
        probability_a=probability,
        source="logprobs" if by_logprobs else "votes",
    )
