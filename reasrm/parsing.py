"""Reply text -> `Reading`: pure and total. Only the judge's own reply is ever read here, never the texts that it judges.

The format is RM-R1's (arXiv 2505.02387, section 3): `<type>`, then `<rubric>` or `<solution>`, `<eval>` with quotes and summaries
of both sides, `<answer>[[A]]</answer>`. Reasoning models think up to `</think>` and then answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal

from reasrm.types import NoVerdict, Quote, Reading, Rubric, RubricItem, Side, TaskType, Token, other

#: The tags of a reply. `reasrm.prompts` keeps look-alikes of them out of the texts that are judged.
REPLY_TAGS = (
    *("type", "rubric", "justify", "solution", "eval", "answer", "think"),
    *("quote_A", "quote_B", "summary_A", "summary_B"),
)

_ANSWER = re.compile(r"<answer>\s*\[\[\s*([AB])\s*\]\]", re.IGNORECASE)
_QUOTE = re.compile(r"<(quote|summary)_([AB])>(.*?)(?:</\1_\2>|(?=<(?:quote|summary)_[AB]>)|\Z)", re.DOTALL | re.IGNORECASE)
_REFUSAL = re.compile(
    r"\A\W*(?:i['’]?m sorry|i am sorry|sorry|i can(?:['’]t|not)|i(?:['’]m| am) (?:not able|unable)|i won['’]t|as an ai)\b",
    re.IGNORECASE,
)
_ITEM_START = re.compile(r"^\s*(?:\d+\s*[.)]|[-*•])\s+")
_WEIGHT = re.compile(r"\s*[(\[]?\s*(?:weight\s*[:=]?\s*)?(\d+(?:\.\d+)?)\s*%\s*[)\]]?\s*")
_TYPE = re.compile(r"<type>\s*(chat|reasoning)\s*</type>", re.IGNORECASE)
_FROM_JUSTIFY = re.compile(r"<justify>.*", re.DOTALL | re.IGNORECASE)

ReplyKind = Literal["rubric", "free"]


def mended(text: str) -> str:
    """`text` with a question mark for each half of a surrogate pair: JSON can hold such halves, no file or answer in UTF-8 can."""
    return text.encode("utf-8", "replace").decode()


class _Block:
    """The text of the first `<tag>`, up to the last `</tag>` that precedes the next part; unclosed, up to that part."""

    def __init__(self, tag: str, *, ends_before: tuple[str, ...]) -> None:
        self._opening, self._closing, self._either = (re.compile(rf"<{slash}{tag}>", re.IGNORECASE) for slash in ("", "/", "/?"))
        self._following = re.compile("|".join(f"<{name}>" for name in ends_before), re.IGNORECASE)

    def of(self, body: str) -> str | None:
        """That text in `body`, without tags of its own kind; None where it has none."""
        opening = self._opening.search(body)
        if opening is None:
            return None
        start, following = opening.end(), self._following.search(body, opening.end())
        end = following.start() if following else len(body)
        for closing in self._closing.finditer(body, start, end):
            end = closing.start()
        return self._either.sub("", body[start:end]).strip()


_RUBRIC = _Block("rubric", ends_before=("eval", "answer"))
_JUSTIFICATION = _Block("justify", ends_before=("eval",))
_SOLUTION = _Block("solution", ends_before=("eval", "answer"))
_EVALUATION = _Block("eval", ends_before=("answer",))


def parse(reply: str, *, kind: ReplyKind = "rubric", truncated: bool = False) -> Reading:
    """Take `reply` apart. `kind` "free" expects a closing `</think>`; `truncated` says that the engine hit its token limit.

    Never raises: every string gives a reading with an answer or with the reason why there is none.
    """
    if not reply.strip():
        return Reading(no_verdict=NoVerdict(reason="empty"))
    thinking, body = _split_thinking(reply)
    if thinking is None and (kind == "free" or reply.lstrip().lower().startswith("<think>")):
        reason = "truncated" if truncated else "unclosed_think"
        return Reading(thinking=reply, no_verdict=NoVerdict(reason=reason, detail="no </think> in the reply"))

    evaluation = _EVALUATION.of(body)
    answers = _answers(body)
    decided = len(answers) == 1
    return Reading(
        answer=answers.pop() if decided else None,
        no_verdict=None if decided else _why_none(body, answers, truncated),
        thinking=thinking,
        task_type=_task_type(body),
        rubric=_rubric(_RUBRIC.of(body)),
        solution=_SOLUTION.of(body),
        evaluation=evaluation,
        quotes=_quotes(evaluation or ""),
    )


def _split_thinking(reply: str) -> tuple[str | None, str]:
    """(thinking or None, what follows it): the last closing tag ends the thought, so that a quoted one inside does no harm."""
    head, closing, tail = reply.rpartition("</think>")
    if not closing:
        return None, reply
    return head.strip().removeprefix("<think>").strip(), tail


def _outside_quotes(body: str) -> str:
    """`body` with quotes and summaries blanked out at equal length: an answer tag inside a quotation is not the judge's."""

    def blank(match: re.Match[str]) -> str:
        # An unclosed quote must not swallow the answer that follows the evaluation.
        text = match.group(0)
        if not text.lower().endswith(f"</{match.group(1)}_{match.group(2)}>".lower()):
            cut = text.lower().rfind("</eval>")
            keep = text[cut:] if cut >= 0 else text[len(match.group(1)) + 4 :]
            return " " * (len(text) - len(keep)) + keep
        return " " * len(text)

    return _QUOTE.sub(blank, body)


def _answers(body: str) -> set[Side]:
    return {_side(match.group(1)) for match in _ANSWER.finditer(_outside_quotes(body))}


def _side(letter: str) -> Side:
    return "A" if letter.upper() == "A" else "B"


def _why_none(body: str, answers: set[Side], truncated: bool) -> NoVerdict:
    if answers:
        return NoVerdict(reason="both_answers", detail="the reply answers both [[A]] and [[B]]")
    if truncated:
        return NoVerdict(reason="truncated", detail="the token limit came before the answer tag")
    if not body.strip():
        return NoVerdict(reason="no_answer", detail="nothing follows </think>")
    if _REFUSAL.search(body):
        return NoVerdict(reason="refused", detail=body.strip()[:120])
    return NoVerdict(reason="no_answer", detail="no <answer>[[A]]</answer> or <answer>[[B]]</answer> in the reply")


def _task_type(body: str) -> TaskType | None:
    match = _TYPE.search(body)
    if match is None:
        return None
    return "chat" if match.group(1).lower() == "chat" else "reasoning"


def _rubric(text: str | None) -> Rubric | None:
    if text is None:
        return None
    criteria = _FROM_JUSTIFY.sub("", text)
    starts = ((line, _ITEM_START.match(line)) for line in criteria.splitlines())
    items = tuple(_rubric_item(line[start.end() :]) for line, start in starts if start)
    return Rubric(items=items, justification=_JUSTIFICATION.of(text), text=criteria.strip())


def _rubric_item(line: str) -> RubricItem:
    line = line.replace("**", "").strip()
    weight = _WEIGHT.search(line)
    if weight is None:
        return RubricItem(text=line)
    share = float(weight.group(1)) / 100.0
    head, tail = line[: weight.start()].strip(" :–-"), line[weight.end() :].strip(" :–-")
    return RubricItem(text=": ".join(part for part in (head, tail) if part), weight=share)


def _quotes(evaluation: str) -> tuple[Quote, ...]:
    return tuple(
        Quote(
            side=_side(match.group(2)),
            kind="quote" if match.group(1).lower() == "quote" else "summary",
            text=match.group(3).strip().strip('"“”').strip(),
        )
        for match in _QUOTE.finditer(evaluation)
        if match.group(3).strip()
    )


def verdict_probability(tokens: Sequence[Token]) -> float | None:
    """P(A) in [0, 1] from the log-probabilities at the verdict letter, or None where the tokens hold no answer.

    `tokens` are the reply's last ones. The letter's token and the same token with the other letter share the mass; where the
    other is not among the listed alternatives, it gets the most that the list leaves for it.
    """
    at = last_answer_letter("".join(token.text for token in tokens))
    if at is None:
        return None
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


def last_answer_letter(reply: str) -> int | None:
    """Where the letter of the last answer tag stands in `reply`, or None."""
    matches = list(_ANSWER.finditer(reply))
    return matches[-1].start(1) if matches else None


def deliberation_of(reply: str) -> str | None:
    """The beginning of a reply that depends on the question only: up to `</rubric>` or `</solution>`; None where it has none."""
    ends = [match.end() for match in re.finditer(r"</(?:rubric|solution)>", reply, re.IGNORECASE)]
    before = re.search(r"<eval>", reply, re.IGNORECASE)
    ends = [end for end in ends if before is None or end <= before.start()]
    return reply[: ends[-1]] if ends else None
