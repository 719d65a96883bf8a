"""Whether a chain speaks of a verdict that was known beforehand: named patterns, each about this judging.

"We are told that x > 0" and "from the above analysis" are innocent; "I was told that B is better" is not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_SIDE = r"(?:(?:response|answer|chatbot|assistant|option|side) )?[\"'`*\[(]*(?-i:[AB])\b"
_BETTER = r"(?:the )?(?:better|best|correct|right|preferred|favou?red|chosen|winn(?:er|ing))\b"
_GIVEN = r"(?:told|informed|instructed|advised|given|notified|reminded|asked|required|supposed|meant|expected)"
_VERDICT = r"(?:labels?|verdicts?|winner|preference|judge?ment|outcome|final answer)"
_WORK = r"(?:verdict|judge?ment|evaluation|chain|reasoning)"
_LABEL = r"(?:labels?|hint|annotation|correction)"

TOLD: Mapping[str, re.Pattern[str]] = {
    name: re.compile(pattern, re.IGNORECASE)
    for name, pattern in {
        "was_told": rf"\b(?:i|we)\b(?:['’]\w+)?(?: \w+){{0,2}} {_GIVEN} (?:(?:that|by|to|in|which|the)\b[^.,;\n]{{0,40}})?"
        rf"(?:{_SIDE} (?:is|was|wins|should|must|as)|\b{_VERDICT})\b",
        "as_told": rf"\bas (?:\w+ ){{0,2}}(?:{_GIVEN}|indicated|stated|specified) (?:in|by) "
        rf"(?:the |my |an? )?(?:message|{_LABEL})\b",
        "the_label": rf"\b(?:gold|golden|ground[- ]truth|provided|given|supplied|stated|known|official|annotated) {_VERDICT}\b"
        r"|\b(?:correct|true|right) (?:labels?|verdict|winner|judge?ment)\b",
        "label_says": r"\b(?:the labels?|hint|annotators?|annotation) "
        r"(?:says?|states?|indicates?|tells?|names?|prefers?|favou?rs?)\b",
        "according_to": r"\b(?:according to|based on|per|consistent with|in line with|match(?:es|ing)?|agrees? with) the "
        rf"{_LABEL}\b",
        "known_winner": rf"\b(?:we|i) (?:already |now )?know (?:that )?(?:the )?{_SIDE}\W* (?:is|was|to be) {_BETTER}"
        rf"|\b{_SIDE}\W* (?:is|was) (?:already )?(?:known|said|stated|declared|confirmed|given) (?:to be|as|that)\b",
        "earlier_judgment": rf"\b(?:my|the) (?:previous|earlier|prior|flawed|original|initial|last) {_WORK}\b|\b{_WORK} above\b",
        "correcting": rf"\b(?:correct|revis|updat)(?:ed|ing) (?:my |the )?{_WORK}\b"
        r"|\b(?:being|was|been) corrected\b|\bi stand corrected\b",
    }.items()
}
_QUOTED = re.compile(r"<(quote|summary)_([AB])>.*?</\1_\2>", re.DOTALL | re.IGNORECASE)


def speaks_of_being_told(reply: str) -> str | None:
    """The name of the first pattern of `TOLD` that `reply` matches outside of its quotations, or None."""
    text = _QUOTED.sub(" ", reply)
    return next((name for name, pattern in TOLD.items() if pattern.search(text)), None)
