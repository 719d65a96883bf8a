"""Whether a judge's quotations stand in the responses that they quote.

A quotation that stands nowhere is made up, or quotes the other side; it says that the evaluation cannot be trusted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from reasrm.prompts import unescape
from reasrm.types import Message, Pair, Quote

#: At most so many quotations are looked up, because each costs a search through the response.
MOST = 64
_ALIKE = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "…": "...", "*": None, "`": None})
_GAP = re.compile(r"\[?\.\.\.\]?")


def checked(quotes: Sequence[Quote], pair: Pair) -> tuple[Quote, ...]:
    """`quotes` (sides in the frame of `pair`) with `in_response` set for each quotation."""
    texts = {"A": _folded(_text(pair.a)), "B": _folded(_text(pair.b))} if quotes else {}
    looked_up = [quote for quote in quotes if quote.kind == "quote"][:MOST]
    return tuple(
        quote.model_copy(update={"in_response": _stands_in(quote.text, texts[quote.side])}) if quote in looked_up else quote
        for quote in quotes
    )


def _text(messages: Sequence[Message]) -> str:
    return "\n".join("\n".join((message.content, *(call.arguments for call in message.tool_calls))) for message in messages)


def _folded(text: str) -> str:
    """`text` up to case, white space, kind of quotation mark and emphasis."""
    return " ".join(text.translate(_ALIKE).casefold().split())


def _stands_in(quote: str, text: str) -> bool:
    """Whether the pieces of `quote` between its "..." stand in `text` (folded) one after another."""
    pieces = [piece.strip(" \"'") for piece in _GAP.split(_folded(unescape(quote)))]
    at = 0
    for piece in filter(None, pieces):
        at = text.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return any(pieces)
