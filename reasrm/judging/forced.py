"""A forced verdict: where a reply ends without an answer, the engine continues it at the answer tag, and one token decides.

A weak judge often writes past its limit or forgets the tag. Its reasoning still says which side it prefers: the two letters that
may follow `<answer>[[` have log-probabilities. The verdict is marked (`source` "forced"). A judge that refused, or that answered
both sides, gets none: it did say what it thinks.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence

from reasrm.grammar import scan
from reasrm.parsing import ReplyKind, letter_of
from reasrm.prompts import Pack
from reasrm.types import Answer, Ask, Completion, Failure, NoVerdict, Opinion, Options, Side, Verdict

#: The beginning of an answer; the judge's letter is the next token.
ANSWER_TAG = "<answer>[["
ALTERNATIVES = 20  # of the letter's token: the most that OpenAI's interface allows
_FORCEABLE = frozenset({"no_answer", "truncated", "unclosed_think", "empty"})
#: An answer at the end of a reply that lacks its tag.
_BARE = re.compile(r"\[\[\s{0,8}([AB])\s{0,8}\]\][\s.*`]{0,8}\Z", re.IGNORECASE)
_CUT_TAG = re.compile(r"(?:<answer>\s{0,8}\[{0,2}|</?[a-z_]{0,12})\s{0,8}\Z", re.IGNORECASE)


def letter_ask(ask: Ask, begun: str) -> Ask:
    """An ask for the one token that follows `begun` and the answer tag."""
    return ask.model_copy(
        update={"prefill": begun + ANSWER_TAG, "max_tokens": 1, "alternatives": ALTERNATIVES, "stop": (), "optional": True}
    )


def forced(
    asks: Sequence[Ask], answers: Sequence[Answer], opinions: Sequence[Opinion], options: Options, pack: Pack
) -> Generator[list[Ask], list[Answer], list[Opinion]]:
    """The part of a protocol that follows its replies: the opinions, each with a verdict where one could be forced."""
    missing = [at for at, opinion in enumerate(opinions) if options.forced and _may_be_forced(opinion, answers[at])]
    if not missing:
        return list(opinions)
    letters = yield [letter_ask(asks[at], closed(opinions[at].reply, pack.kind)) for at in missing]
    mended = list(opinions)
    for at, letter in zip(missing, letters, strict=True):
        mended[at] = _with_letter(opinions[at], letter, _BARE.search(opinions[at].reply))
    return mended


def closed(reply: str, kind: ReplyKind) -> str:
    """`reply` with its thought and its last part closed, ready for the answer tag.

    A tag that was cut off is dropped, and so is an answer without its tag: it follows again, in its tag.
    """
    reply = _BARE.sub("", _CUT_TAG.sub("", reply)).rstrip()
    parts = scan(reply)
    if parts.thought is None and (kind == "free" or reply.lstrip()[:7].lower() == "<think>"):
        return f"{reply}\n</think>\n\n"
    if parts.parts and not parts.parts[-1].closed:
        return f"{reply}\n</{parts.parts[-1].name}>\n"
    return f"{reply}\n" if reply else ""


def _may_be_forced(opinion: Opinion, answer: Answer) -> bool:
    outcome = opinion.outcome
    return isinstance(answer, Completion) and isinstance(outcome, NoVerdict) and outcome.reason in _FORCEABLE


def _with_letter(opinion: Opinion, answer: Answer, bare: re.Match[str] | None) -> Opinion:
    """`opinion` with the verdict of the forced letter, in the pair's frame.

    It has none where the letter is neither A nor B, or contradicts the `bare` answer with which the reply ends.
    """
    if isinstance(answer, Failure):
        if answer.no_verdict.transient:
            return opinion.model_copy(update={"outcome": answer.no_verdict})
        return opinion  # this engine cannot continue a reply, or its context is full
    spent = {"usage": opinion.usage + answer.usage, "seconds": opinion.seconds + answer.seconds}
    letter, probability = letter_of(answer)
    if letter is None or (bare is not None and bare[1].upper() != letter):
        return opinion.model_copy(update=spent)
    verdict = Verdict(winner=letter, probability_a=probability, source="forced")
    side: Side = letter
    if opinion.order == "ba":
        verdict = verdict.swapped()
        side = verdict.winner
    reading = opinion.reading.model_copy(update={"answer": side, "no_verdict": None})
    return opinion.model_copy(update=spent | {"outcome": verdict, "reading": reading})
