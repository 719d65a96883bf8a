"""Reply text -> `Reading`: pure and total. It reads only the judge's own reply, never the texts that are judged.

`reasrm.grammar` says where the parts of a reply stand and which answer counts. This module reads the parts, and P(A) from tokens.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal

from reasrm.grammar import ANSWER, REPLY_TAGS, Scan, Span, Tag, scan
from reasrm.types import Completion, NoVerdict, Quote, Reading, Rubric, RubricItem, Side, TaskType, Token, other

__all__ = [
    "REPLY_TAGS",
    "ReplyKind",
    "deliberation_of",
    "letter_of",
    "mended",
    "parse",
    "read",
    "unquoted",
    "verdict_probability",
]

ReplyKind = Literal["rubric", "free"]

_REFUSAL = re.compile(
    r"\W*(?:i['’]?m sorry|i am sorry|sorry|i can(?:['’]t|not)|i(?:['’]m| am) (?:not able|unable)|i won['’]t|as an ai)\b",
    re.IGNORECASE,
)
_TYPE = re.compile(r"<type>\s*(chat|reasoning)\s*</type>", re.IGNORECASE)
#: Of the two letters, below which a judge names neither. Of SmolLM2-135M, asked for a letter, it was at least 0.94.
LEAST_MASS = 0.5
#: A token that is one of the two letters.
_LETTER = re.compile(r"\s*([ABab])(?![A-Za-z])")
_ITEM_START = re.compile(r"\s*(?:\d{1,4}\s{0,4}[.)]|[-*•])\s+")
_PERCENT = r"(?<![\d.,])(\d{1,3}(?:\.\d{1,4})?)\s{0,4}%"
_WEIGHT_WORD = r"(?:weight(?:ed|ing)?\s{0,4}[:=]?\s{0,4})"
_DASH = "–—-"
#: A criterion's weight, the surest form first: in brackets, beside the word "weight", or bare at one end of the criterion's name.
_WEIGHTS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"[(\[]\s{{0,4}}{_WEIGHT_WORD}?{_PERCENT}(?:\s{{0,4}}weight)?\s{{0,4}}[)\]]",
        rf"{_WEIGHT_WORD}{_PERCENT}|{_PERCENT}\s{{0,4}}weight\b",
        rf"\A{_PERCENT}|{_PERCENT}(?=\s{{0,4}}:|\s[{_DASH}]\s)|(?:(?<=[:={_DASH}])|(?<=[:={_DASH}]\s)){_PERCENT}\Z",
    )
)


def mended(text: str) -> str:
    """`text` with a question mark for each half of a surrogate pair: JSON can hold such halves, no file or answer in UTF-8 can."""
    return text.encode("utf-8", "replace").decode()


def parse(reply: str, *, kind: ReplyKind = "rubric", truncated: bool = False) -> Reading:
    """Take `reply` apart. `kind` "free" expects a closing `</think>`; `truncated` says that the engine hit its token limit.

    Never raises: every string gives a reading with an answer or with the reason why there is none.
    """
    return read(reply, kind=kind, truncated=truncated)[0]


def read(reply: str, *, kind: ReplyKind = "rubric", truncated: bool = False) -> tuple[Reading, int | None]:
    """The result of `parse`, and the position of the (first) answer's letter in `reply`; None without an answer."""
    if not reply.strip():
        return Reading(no_verdict=NoVerdict(reason="empty")), None
    parts = scan(reply, truncated=truncated)
    if parts.thought is None and (kind == "free" or reply.lstrip()[:7].lower() == "<think>"):
        reason = "truncated" if truncated else "unclosed_think"
        return Reading(thinking=reply, no_verdict=NoVerdict(reason=reason, detail="no </think> in the reply")), None
    answer = _answer(parts)
    evaluation = parts.part("eval")
    reading = Reading(
        answer=None if answer is None else _side(reply[answer.letter]),
        no_verdict=_why_none(parts, truncated) if answer is None else None,
        thinking=_thinking(parts),
        task_type=_task_type(parts.body),
        rubric=_rubric(parts),
        solution=_text(parts, parts.part("solution")),
        evaluation=_text(parts, evaluation),
        quotes=_quotes(parts, evaluation),
    )
    return reading, None if answer is None else answer.letter


def _answer(parts: Scan) -> Tag | None:
    """The answer of a reply: the first that counts; None where none does, or where two contradict each other."""
    sides = {_side(parts.reply[answer.letter]) for answer in parts.answers}
    return parts.answers[0] if len(sides) == 1 else None


def _side(letter: str) -> Side:
    return "A" if letter.upper() == "A" else "B"


def _why_none(parts: Scan, truncated: bool) -> NoVerdict:
    if parts.answers:
        return NoVerdict(reason="both_answers", detail="the reply answers both [[A]] and [[B]]")
    if truncated:
        return NoVerdict(reason="truncated", detail="the token limit came before the answer tag")
    if not parts.body.strip():
        return NoVerdict(reason="no_answer", detail="nothing follows </think>")
    if _REFUSAL.match(parts.body):
        return NoVerdict(reason="refused", detail=parts.body.strip()[:120])
    return NoVerdict(reason="no_answer", detail="no <answer>[[A]]</answer> or <answer>[[B]]</answer> after the evaluation")


def _thinking(parts: Scan) -> str | None:
    if parts.thought is None:
        return None
    return parts.reply[: parts.thought.end].strip().removeprefix("<think>").strip()


def _task_type(body: str) -> TaskType | None:
    match = _TYPE.search(body)
    if match is None:
        return None
    return "chat" if match.group(1).lower() == "chat" else "reasoning"


def _text(parts: Scan, span: Span | None) -> str | None:
    """The text of a part, without stray tags of its own kind; None where there is no such part."""
    if span is None:
        return None
    return re.sub(rf"</?{span.name}>", "", parts.reply[span.start : span.end], flags=re.IGNORECASE).strip()


def _rubric(parts: Scan) -> Rubric | None:
    """The rubric's items; its justification stands inside of it or right after it."""
    text = _text(parts, parts.part("rubric"))
    if text is None:
        return None
    criteria, *rest = re.split("<justify>", text, maxsplit=1, flags=re.IGNORECASE)
    justification = re.sub("</?justify>", "", rest[0], flags=re.IGNORECASE).strip() if rest else _text(parts, parts.part("justify"))
    starts = ((line, _ITEM_START.match(line)) for line in criteria.splitlines())
    items = tuple(_rubric_item(line[start.end() :]) for line, start in starts if start)
    return Rubric(items=items, justification=justification, text=criteria.strip())


def _rubric_item(line: str) -> RubricItem:
    """A criterion with its weight. A percentage inside of a sentence ("the 20% discount") is a part of the text."""
    line = line.replace("**", "").strip()
    for pattern in _WEIGHTS:
        if matches := list(pattern.finditer(line)):
            weight = next((match for match in matches if line[match.end() :].lstrip()[:1] == ":"), matches[-1])
            head, tail = line[: weight.start()].strip(" :–-"), line[weight.end() :].strip(" :–-")
            share = next(filter(None, weight.groups()))
            return RubricItem(text=_joined(head, tail), weight=float(share) / 100.0)
    return RubricItem(text=line)


def _joined(head: str, tail: str) -> str:
    """The text around a weight, as one text: a name and its explanation, or a sentence with its full stop."""
    if head and tail and not tail[0].isalnum():
        return f"{head}{tail}" if tail in (".", ";", ",") else f"{head} {tail}"
    return ": ".join(part for part in (head, tail) if part)


def _quotes(parts: Scan, evaluation: Span | None) -> tuple[Quote, ...]:
    """The quotations and summaries of the evaluation that say something."""
    if evaluation is None:
        return ()
    quotes: list[Quote] = []
    for span in parts.quotations:
        if evaluation.start <= span.start <= evaluation.end:
            text = parts.reply[span.start : min(span.end, evaluation.end)].strip().strip('"“”').strip()
            kind, letter = span.name.split("_")
            if text:
                quotes.append(Quote(side=_side(letter), kind="quote" if kind == "quote" else "summary", text=text))
    return tuple(quotes)


def unquoted(reply: str) -> str:
    """`reply` without its closed quotations and summaries, since these repeat the texts that were judged."""
    pieces: list[str] = []
    at = 0
    for span in scan(reply).quotations:
        if span.closed:
            pieces.append(reply[at : span.start])
            at = span.end
    return " ".join([*pieces, reply[at:]])


def verdict_probability(tokens: Sequence[Token], reply: str, place: int) -> float | None:
    """P(A) in [0, 1] from the log-probabilities at the verdict letter, or None where `tokens` do not reach it.

    `tokens` are the last ones of `reply`, `place` is where its answer's letter stands (`read`). Answers are counted from the end in
    both, since tokens may hold control tokens that the reply lacks. The letter's token and the same token with the other letter
    share the mass. If the other is not among the listed alternatives, it gets the largest mass that the list leaves for it.
    """
    later = sum(1 for _ in ANSWER.finditer(reply, place))
    answers = list(ANSWER.finditer("".join(token.text for token in tokens)))
    if len(answers) <= later or answers[-1 - later]["letter"].upper() != reply[place].upper():
        return None
    at = answers[-1 - later].start("letter")
    for token in tokens:
        if at < len(token.text):
            return _share_of_a(token, at)
        at -= len(token.text)
    return None


def _share_of_a(token: Token, at: int) -> float | None:
    side = _side(token.text[at])
    twin = token.text[:at] + other(side) + token.text[at + 1 :]
    listed = {text: math.exp(min(logprob, 0.0)) for text, logprob in token.top.items()}
    if token.text not in listed:
        return None
    mine = listed[token.text]
    theirs = listed.get(twin, max(0.0, min(min(listed.values()), 1.0 - sum(listed.values()))))
    if mine + theirs <= 0.0:
        return None
    share = mine / (mine + theirs)
    return share if side == "A" else 1.0 - share


def letter_of(completion: Completion) -> tuple[Side | None, float]:
    """The side that a reply of one token names after the answer tag, and P(A) in [0, 1]; (None, 0.5) where it names neither.

    P(A) is the share of all listed tokens that are an A, in any spelling, among those that are an A or a B. Where the two
    letters together are less likely than everything else, the judge was about to write something else, and names neither. Without
    log-probabilities the written letter has it all.
    """
    written = _LETTER.match(completion.text)
    if not completion.tokens:
        return (None, 0.5) if written is None else (_side(written[1]), float(_side(written[1]) == "A"))
    mass = {"A": 0.0, "B": 0.0}
    listed = [math.exp(min(logprob, 0.0)) for logprob in completion.tokens[0].top.values()]
    for text, probability in zip(completion.tokens[0].top, listed, strict=True):
        if letter := _LETTER.match(text):
            mass[_side(letter[1])] += probability
    if mass["A"] + mass["B"] < LEAST_MASS:
        return None, 0.5
    rest = max(0.0, min(min(listed), 1.0 - sum(listed)))  # the most that an unlisted letter can have
    share = max(mass["A"], rest) / (max(mass["A"], rest) + max(mass["B"], rest))
    return ("A" if share >= 0.5 else "B"), share


def deliberation_of(reply: str) -> str | None:
    """The beginning of a reply that depends on the question only: up to `</rubric>` or `</solution>`; None where it has none."""
    ends: list[int] = []
    for part in scan(reply).parts:
        if part.name == "eval":
            break
        if part.closed and part.name != "justify":
            ends.append(part.after)
    return reply[: ends[-1]] if ends else None
