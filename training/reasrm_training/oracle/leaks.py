"""Whether a chain reveals that its writer knew the label: named patterns, each for one way of saying so.

They are applied to chains whose writer knew the label, so they are strict: a chain that is lost costs less than one that
teaches to speak of a label. Even so, "we are told that x > 0" and "the evaluation above" are innocent.

Every pattern takes time linear in the text: a run of white space or quotation marks is matched by one quantifier only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from reasrm.parsing import unquoted

_LETTER = r"(?:(?:the )?(?:response|answer|chatbot|assistant|option|side) )?[\"'`*\[(]*(?-i:[AB])\b"
_SIDE = rf"{_LETTER}[\"'`*\])]*"
_THEN = r"\W*+(?<= )"  # anything but a word, and a space at its end
_BETTER = r"(?:the )?(?:better|best|correct|right|preferred|favou?red|chosen|winn(?:er|ing))\b"
_TOLD = r"(?:told|informed|instructed|advised|given|notified|reminded|asked|required|supposed|meant|expected)"
_SAID = r"(?:said|stated|established|known|determined|confirmed|specified|declared|indicated|given|decided|pointed out)"
_SAYS = r"(?:says?|said|states?|stated|indicates?|indicated|tells?|told|names?|prefers?|favou?rs?|confirms?|notes?)"
_VERDICT = r"(?:labels?|verdicts?|winner|preference|judge?ment|outcome|final answer)"
_WORK = r"(?:verdict|judge?ment|evaluation|chain|reasoning|analysis|assessment|conclusion|decision|comparison|attempt)"
_TELLER = r"(?:labels?|hint|annotators?|annotation|correction|feedback|message|instructions?|user|prompt)"
_BEFORE = r"(?:previous|earlier|prior|flawed|original|initial|last|first|preceding)"
_AGAIN = r"re-?(?:evaluat|consider|assess|examin|judg|think)\w+"

LEAKS: Mapping[str, re.Pattern[str]] = {
    name: re.compile(pattern, re.IGNORECASE)
    for name, pattern in {
        "was_told": rf"\b(?:i|we)\b(?:['’]\w+)?(?: \w+){{0,2}} {_TOLD} (?:(?:that|by|to|in|which|the)\b[^.,;\n]{{0,40}})?"
        rf"(?:{_SIDE} (?:is|was|wins|should|must|as)|\b{_VERDICT})\b",
        "you_said": r"\byou(?:['’]ve| have)? (?:said|told|stated|pointed|indicated|mentioned|noted|confirmed|specified)\b"
        r"|\bthank(?:s| you) for (?:the|your|pointing)\b",
        "as_told": rf"\bas (?:\w+ ){{0,2}}(?:{_TOLD}|indicated|stated|specified) (?:in|by) (?:the |my |an? )?{_TELLER}\b(?!,)"
        rf"|\bas (?:\w+ ){{0,2}}(?:stated|indicated|specified) in the message\b|\bas pointed out,",
        "the_label": rf"\b(?:gold|golden|ground[- ]truth|provided|given|supplied|stated|known|official|annotated) {_VERDICT}\b"
        rf"|\b(?:expected|target|reference|intended|desired|required) {_VERDICT}\b"
        r"|\b(?:correct|true|right) (?:labels?|verdict|winner|judge?ment)\b"
        rf"|\b(?:labels?|ground[- ]truth(?: answer)?|(?:expected|target|reference|desired) answer) (?:is|was) {_SIDE}(?! \w)"
        rf"|\b(?:correct|right|true) answer (?:is|must be) \[\[|\bgiven that the (?:correct|right|true) answer is {_SIDE}",
        "teller_says": rf"\bthe {_TELLER} {_SAYS} (?:\w+ )?(?:that )?{_SIDE}(?: (?:is|was|wins|here)\b|(?! \w))",
        "according_to": r"\b(?:according to|based on|per|consistent with|in line with|match(?:es|ing)?|agrees? with) the "
        r"(?:labels?|hint|annotation|correction|feedback)\b(?! (?:on|of|in|from|for))",
        "known_winner": rf"\b(?:we|i) (?:already |now )?know (?:that )?(?:the )?{_LETTER}{_THEN}(?:is|was|to be) {_BETTER}"
        rf"|\b{_LETTER}{_THEN}(?:is|was) (?:already )?(?:known|said|stated|declared|confirmed|given) (?:to be|as|that)\b"
        rf"|\b(?:knowing|knowledge|aware|the fact) that {_SIDE} (?:is|was) {_BETTER}"
        rf"|\bit (?:is|was|has been|had been) (?:already )?{_SAID} (?:that )?{_SIDE} (?:is|was|wins)\b"
        rf"|\b{_WORK} (?:must|should|has to|needs to) (?:end|favou?r|arrive|lead|support)\b",
        "earlier_judgment": rf"\b(?:my|the) {_BEFORE} {_WORK}\b|\bmy {_BEFORE} (?:answer|choice|mistake|error|oversight)\b"
        r"|\b(?:verdict|judge?ment|chain) above\b"
        rf"|\b{_WORK} above (?:missed|overlooked|failed|erred|was|is|does|did|went)\b|\b{_WORK} (?:does|did) not hold\b"
        r"|\bi (?:had )?(?:previously|initially|originally|earlier|wrongly|mistakenly|incorrectly)\b"
        r"|\b(?:previously|initially|originally|earlier|at first),? i\b",
        "correcting": rf"\b(?:correct|revis|updat)(?:ed|ing) (?:my |the )?{_WORK}\b"
        rf"|\bthis (?:corrected|revised|updated|new) (?:version|{_WORK})\b"
        r"|\b(?:being|was|been) corrected\b|\bi stand corrected\b|\bi (?:have )?made an? (?:\w+ )?(?:mistake|error)\b"
        rf"|\b(?:on|upon|after|in) (?:\w+ )?{_AGAIN}",
    }.items()
}


def label_leak(reply: str) -> str | None:
    """The name of the first pattern of `LEAKS` that `reply` matches outside of its quotations, or None."""
    text = unquoted(reply)
    return next((name for name, pattern in LEAKS.items() if pattern.search(text)), None)
