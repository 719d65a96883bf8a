"""Groups for the tests of rankings, a judge that knows their strengths, and a ranking driven by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

from reasrm.judging.group import Group, RankOptions
from reasrm.judging.ranking import Match, ranking
from reasrm.types import Judgment, NoVerdict, Opinion, Order, Pair, Ranking, Reading, Usage, Verdict


def strength(pair: Pair, side: str) -> float:
    return float((pair.a if side == "A" else pair.b)[-1].content.split()[-1])


def by_number(bias: float = 0.0) -> Callable[[Pair], float | None]:
    """A judge for which "answer 3" is stronger than "answer 1" by 2 logits; the first place adds `bias`."""

    def probability(pair: Pair) -> float:
        return 1.0 / (1.0 + math.exp(strength(pair, "B") - strength(pair, "A") - bias - 1e-9))

    return probability


def group(*strengths: float, reference: float | None = None) -> Group:
    texts = [f"answer {strength}" for strength in strengths]
    return Group.model_validate(
        {"question": "How much?", "responses": texts, "reference": None if reference is None else f"answer {reference}"}
    )


def drive(of: Group, options: RankOptions, answer: Callable[[Match], Judgment], *, reuse: bool = False) -> tuple[Ranking, list]:
    """Drive the protocol by hand; return the ranking and the waves."""
    flow, waves = ranking(of, options, reuse=reuse), []
    try:
        wave = next(flow)
        while True:
            waves.append(wave)
            wave = flow.send([answer(match) for match in wave])
    except StopIteration as stop:
        return stop.value, waves


def judged(probability: float, tokens: int = 0, reply: str = "", order: Order = "ab") -> Judgment:
    outcome = Verdict(winner="A" if probability > 0.5 else "B", probability_a=probability, source="logprobs")
    usage = Usage(completion_tokens=tokens, requests=1)
    opinion = Opinion(order=order, outcome=outcome, reading=Reading(), reply=reply, usage=usage)
    return Judgment(outcome=outcome, opinions=(opinion,), usage=usage)


def judged_both(probability: float) -> Judgment:
    """A judgment whose two orders agree; an exactly even probability is split."""
    opinions = judged(probability).opinions + judged(probability, order="ba").opinions
    if abs(probability - 0.5) < 1e-6:
        return Judgment(outcome=NoVerdict(reason="split"), opinions=opinions)
    return judged(probability).model_copy(update={"opinions": opinions})
