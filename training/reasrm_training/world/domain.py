"""The input that the world's judge is made for: the templates of the tasks as patterns, for the `domain.json` beside a model.

A pair is inside if the pattern `question` of an entry matches its whole question, and the pattern `response` of the same entry
matches a part of each response, which may have `max_response_chars`. Everything else is outside and gets no verdict.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from reasrm_training.world import reasoning
from reasrm_training.world.chat import CARD, CARD_RULE, COUNTS, NOTE, NOTE_RULE
from reasrm_training.world.text import COLOURS, CORES, FIELDS, PLACES, THINGS, WORDS

MAX_RESPONSE_CHARS = 600

_NUMBER, _LETTER = r"\d{2,4}", "[a-z]"
_LETTERS, _ROW = r"[a-z](?: [a-z]){2,4}", r"[a-z](?: [a-z]){1,4}"


def _any(options: Iterable[str]) -> str:
    return f"(?:{'|'.join(options)})"


_COLOUR, _THING, _WORD = _any(COLOURS), _any(THINGS), _any(WORDS)
_FIELD = _any(f"{name} {_any(words)}" for name, words in FIELDS.items())
_ITEMS, _SEATS = (rf"1 {_COLOUR}(?:, [2-6] {_COLOUR}){{3,5}}", rf"[1-5] {_THING}(?:, [1-5] {_THING}){{2,4}}")
_PROGRAM = r"L1 x=\d\nL2 y=\d(?:\nL[3-5] [xy]=[xy][+-][xy1-4]){1,3}\nprint [xy]"


def _patterns(templates: tuple[str, ...], **slots: str) -> list[str]:
    """Each template as a pattern, with patterns in place of its slots."""
    patterns = []
    for template in templates:
        pattern = re.escape(template)
        for name, slot in slots.items():
            pattern = pattern.replace(re.escape(f"{{{name}}}"), slot)
        patterns.append(pattern)
    return patterns


def _answer(answer: str) -> str:
    return _any(_patterns(CORES, **{"": answer}))


def domain() -> dict[str, Any]:
    """The patterns by family, as they are written to `domain.json`."""
    number, row = _answer(r"\d{1,5}"), _answer(_ROW)
    one = {"n": _LETTER, "o": _LETTER, "x": _LETTERS}
    arithmetic = {"a": _NUMBER, "b": _NUMBER}
    note_rule = _patterns((NOTE_RULE,), place=_any(PLACES), word=_WORD)[0]
    card_rule = _any(_patterns((CARD_RULE,), place=name, word=_any(words))[0] for name, words in FIELDS.items())
    families: dict[str, tuple[list[str], str]] = {
        "addition": (_patterns(reasoning.ADD, **arithmetic), number),
        "subtraction": (_patterns(reasoning.SUBTRACT, **arithmetic), number),
        "multiplication": (_patterns(reasoning.MULTIPLY, a=_NUMBER, b="[2-5]"), number),
        "ordering": (_patterns(reasoning.SORT, x=_SEATS), _answer(f"{_THING}(?: {_THING}){{2,4}}")),
        "counting": (_patterns(reasoning.COUNT, c=_COLOUR, x=_ITEMS), number),
        "edits": (
            _patterns((*reasoning.REPLACE, *reasoning.REVERSE, *reasoning.DROP), **one),
            row,
        ),
        "traces": (_patterns(reasoning.TRACE, x=_PROGRAM), _answer(r"\d")),
        "notes": (
            _patterns(NOTE, n=_any(COUNTS.values()), rules=rf"{note_rule}(?: {note_rule}){{1,2}}"),
            rf"Here: {_WORD}(?: {_WORD}){{2,4}}\.",
        ),
        "cards": (
            _patterns(CARD, rules=rf"{card_rule}(?: {card_rule}){{1,2}}"),
            rf"Here: {_FIELD}(?:, {_FIELD}){{2,4}}\.",
        ),
    }
    return {
        "version": 1,
        "max_response_chars": MAX_RESPONSE_CHARS,
        "tasks": [
            {"family": name, "question": _any(questions), "response": response} for name, (questions, response) in families.items()
        ],
    }


def inside(rules: dict[str, Any], question: str, *responses: str) -> bool:
    """Whether a pair is one of those that `rules` (a `domain.json`) describe."""
    if any(len(response) > rules["max_response_chars"] for response in responses):
        return False
    return any(
        re.fullmatch(task["question"], question) and all(re.search(task["response"], r) for r in responses)
        for task in rules["tasks"]
    )
