"""Numbers and texts for people, in one form for terminals, reports and error messages."""

from __future__ import annotations

import json
import re
from typing import Any

#: Control characters but tab and newline, and the marks that turn the direction of a text around.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """`text` with its control characters made visible, so that a terminal cannot obey them: ESC becomes "␛"."""
    return _CONTROL.sub(lambda match: _shown(ord(match.group())), text.replace("\r\n", "\n"))


def _shown(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"\\u{code:04x}"


def terminal_json(value: Any) -> str:
    """`value` as indented JSON. Control characters are written as JSON escapes."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return _CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def sure(probability: float) -> str:
    """The probability of the side that it favours, as a percentage; never rounded up to certainty."""
    return percent(max(probability, 1.0 - probability))


def counted(count: int, noun: str) -> str:
    """`count` with its noun: "1 row", "1,200 rows"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def percent(share: float, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage; only 1 is shown as 100, and only 0 as 0."""
    return f"{percentage(share, digits)} %"


def percentage(share: float, digits: int = 1) -> str:
    """`percent` without the sign, for tables with "percent" in their heading."""
    step = 10.0**-digits
    if share < 1.0 and float(f"{100 * share:.{digits}f}") >= 100.0:
        return f"> {100 - step:.{digits}f}"
    if share > 0.0 and float(f"{100 * share:.{digits}f}") <= 0.0:
        return f"< {step:.{digits}f}"
    return f"{100 * share:.{digits}f}"
