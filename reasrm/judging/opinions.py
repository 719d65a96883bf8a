"""What every protocol of pairs shares: one ask an order, one opinion an answer, one judgment out of all opinions."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import reduce

from reasrm.parsing import parse, verdict_probability
from reasrm.prompts import Pack
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
    Usage,
    Verdict,
)

#: A protocol of pairs.
Flow = Generator[list[Ask], list[Answer], Judgment]


def ask_for(pair: Pair, order: Order, options: Options, pack: Pack, key: bytes) -> Ask:
    """The prompt that shows `pair` in `order`."""
    shown = pair if order == "ab" else pair.swapped()
    return Ask(
        messages=pack.render(shown, key),
        prefill=options.deliberation or pack.prefill(pair),
        temperature=options.temperature,
        top_p=options.top_p,
        max_tokens=options.max_tokens,
        seed=None if options.temperature == 0.0 else options.seed,
        order=order,
    )


def opinion_of(ask: Ask, order: Order, answer: Answer, pack: Pack) -> Opinion:
    """Read an answer to `ask` into an opinion in the frame of the pair as given."""
    if isinstance(answer, Failure):
        return Opinion(order=order, outcome=answer.no_verdict, reading=Reading(), reply="", seconds=answer.seconds)
    reply = ask.prefill + answer.text
    reading = parse(reply, kind=pack.kind, truncated=answer.finish_reason == "length")
    outcome = _outcome(reading, answer)
    if order == "ba":
        reading = reading.swapped()
        outcome = outcome.swapped() if isinstance(outcome, Verdict) else outcome
    return Opinion(order=order, outcome=outcome, reading=reading, reply=reply, usage=answer.usage, seconds=answer.seconds)


def _outcome(reading: Reading, answer: Completion) -> Outcome:
    if reading.answer is None:
        return reading.no_verdict or NoVerdict(reason="no_answer")
    probability = verdict_probability(answer.tokens) if answer.tokens else None
    if probability is None:  # one vote: all that is known without logprobs
        return Verdict(winner=reading.answer, probability_a=float(reading.answer == "A"), source="votes")
    return Verdict(winner=reading.answer, probability_a=probability, source="logprobs")


def judgment_of(outcome: Outcome, opinions: Sequence[Opinion], answers: Sequence[Answer], pack: Pack, seconds: float) -> Judgment:
    """A judgment with what the answers say of the model and the cost."""
    known = next((answer for answer in answers if isinstance(answer, Completion)), None)
    return Judgment(
        outcome=outcome,
        opinions=tuple(opinions),
        model=known.model if known else "",
        weight_version=known.weight_version if known else "",
        prompt_digest=pack.digest,
        usage=reduce(Usage.__add__, (opinion.usage for opinion in opinions)),
        seconds=seconds,
    )


def why_none(opinions: Sequence[Opinion]) -> NoVerdict:
    """The reason that most opinions without a verdict give; of equally many, the one that came first."""
    reasons = [opinion.outcome for opinion in opinions if isinstance(opinion.outcome, NoVerdict)]
    counts = {reason.reason: sum(1 for each in reasons if each.reason == reason.reason) for reason in reversed(reasons)}
    most = max(reversed(counts), key=lambda reason: counts[reason])
    return next(reason for reason in reasons if reason.reason == most)
