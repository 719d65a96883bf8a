"""What every protocol of pairs shares: one ask per order, one opinion per answer, one judgment out of all opinions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator, Sequence
from functools import reduce

from reasrm.grammar import ANSWER
from reasrm.judging import quotations
from reasrm.parsing import read, verdict_probability
from reasrm.prompts import Pack, escape_deliberation
from reasrm.types import (
    Answer,
    Ask,
    Completion,
    Failure,
    Judgment,
    NoVerdict,
    Opinion,
    Options,
    Order,
    Outcome,
    Pair,
    Reading,
    Source,
    Usage,
    Verdict,
)

#: Nothing is written after the verdict. A judge that thinks first ("free") may name the tag in its thought, so it ends by itself.
STOP = "</answer>"
#: A protocol of pairs.
Flow = Generator[list[Ask], list[Answer], Judgment]
_OPEN_ANSWER = re.compile(rf"{ANSWER.pattern}\s*\Z", re.IGNORECASE)


def ask_for(pair: Pair, order: Order, options: Options, pack: Pack, key: bytes, *, glance: bool = False) -> Ask:
    """The prompt that shows `pair` in `order`; with `glance` the pack's text for a verdict without reasoning."""
    shown = pair if order == "ab" else pair.swapped()
    return Ask(
        messages=pack.render(shown, key, glance=glance),
        prefill=escape_deliberation(options.deliberation) if options.deliberation else pack.prefill(pair),
        temperature=options.temperature,
        top_p=options.top_p,
        max_tokens=options.max_tokens,
        seed=None if options.temperature == 0.0 else options.seed,
        stop=(STOP,) if pack.kind == "rubric" else (),
        order=order,
    )


def opinion_of(pair: Pair, ask: Ask, answer: Answer, pack: Pack) -> Opinion:
    """Read an answer to `ask` into an opinion in the frame of `pair` as given.

    A verdict's winner is the side that the reply names. A sampled reply may name the less probable side: its `probability_a` then
    speaks for the other one.
    """
    if isinstance(answer, Failure):
        return Opinion(order=ask.order, outcome=answer.no_verdict, reading=Reading(), reply="", seconds=answer.seconds)
    reply = whole_reply(ask, answer)
    reading, letter = read(reply, kind=pack.kind, truncated=answer.finish_reason == "length")
    outcome = _outcome(reading, letter, reply, answer)
    if ask.order == "ba":
        reading = reading.swapped()
        outcome = outcome.swapped() if isinstance(outcome, Verdict) else outcome
    reading = reading.model_copy(update={"quotes": quotations.checked(reading.quotes, pair)})
    return Opinion(order=ask.order, outcome=outcome, reading=reading, reply=reply, usage=answer.usage, seconds=answer.seconds)


def whole_reply(ask: Ask, answer: Completion) -> str:
    """The reply from its beginning to the closing tag at which the engine stopped, as the judge wrote it."""
    reply = ask.prefill + answer.text
    stopped = STOP in ask.stop and answer.finish_reason == "stop" and _OPEN_ANSWER.search(reply, max(0, len(reply) - 40))
    return reply + STOP if stopped else reply


def _outcome(reading: Reading, letter: int | None, reply: str, answer: Completion) -> Outcome:
    if reading.answer is None or letter is None:
        return reading.no_verdict or NoVerdict(reason="no_answer")
    probability = verdict_probability(answer.tokens, reply, letter) if answer.tokens else None
    if probability is None:  # one vote: without log-probabilities nothing else is known
        return Verdict(winner=reading.answer, probability_a=float(reading.answer == "A"), source="votes")
    return Verdict(winner=reading.answer, probability_a=probability, source="logprobs")


def verdict_of(probability_a: float, source: Source) -> Verdict:
    """The verdict for the more probable side; `probability_a` is not one half."""
    return Verdict(winner="A" if probability_a > 0.5 else "B", probability_a=probability_a, source=source)


def source_of(verdicts: Sequence[Verdict]) -> Source:
    """The weakest source of a mean: a forced verdict marks it, and so does a vote among log-probabilities."""
    sources = {verdict.source for verdict in verdicts}
    return "forced" if "forced" in sources else "votes" if "votes" in sources else "logprobs"


def judgment_of(outcome: Outcome, opinions: Sequence[Opinion], answers: Sequence[Answer], pack: Pack, seconds: float) -> Judgment:
    """A judgment with the model and the cost that the answers state. If several weight versions wrote them, it names them all."""
    known = [answer for answer in answers if isinstance(answer, Completion)]
    versions = {completion.weight_version for completion in known}
    return Judgment(
        outcome=outcome,
        opinions=tuple(opinions),
        model=known[0].model if known else "",
        weight_version="+".join(sorted(versions)),
        prompt_digest=pack.digest,
        usage=reduce(Usage.__add__, (opinion.usage for opinion in opinions)),
        seconds=seconds,
    )


def why_none(opinions: Sequence[Opinion]) -> NoVerdict:
    """The most frequent reason of the opinions without a verdict; the earliest one if several are equally frequent.

    Where only one order has a verdict, the detail says so: it alone would carry the judge's position bias.
    """
    outcomes = [opinion.outcome for opinion in opinions if isinstance(opinion.outcome, NoVerdict)]
    counts = Counter(outcome.reason for outcome in outcomes)
    chosen = max(outcomes, key=lambda outcome: counts[outcome.reason])
    sides = {opinion.outcome.winner for opinion in opinions if isinstance(opinion.outcome, Verdict)}
    if not sides or chosen.failed:
        return chosen
    alone = f"only one order names a side ({', '.join(sorted(sides))})"
    return NoVerdict(reason=chosen.reason, detail=f"{alone}; the other: {chosen.detail}" if chosen.detail else alone)
