"""What keeps the texts that are judged from acting as anything but text.

Two means, both reversible for whoever reads a prompt:
- a fence that cannot be forged: the HMAC of the fenced text under a secret. A text cannot hold its own fence, since any
  attempt to write it in changes it; and equal texts get equal fences, so requests, caches and prefixes stay equal.
- escaping of look-alikes: the tags of a reply, the control tokens of chat templates and, in packs whose delimiters are
  fixed, those delimiters get a backslash after their first character.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from functools import lru_cache

from reasrm.parsing import REPLY_TAGS

FENCE_CHARS = 8  # 32 bits: nobody without the secret can try offline, and a guess costs a judgment

#: Control tokens of the usual chat templates: <|im_start|>, DeepSeek's fullwidth bars, Llama 2's, Gemma's, sentence marks.
_CONTROL = (
    r"<[|｜][^<>\n]{1,48}[|｜]>",
    r"</?s>",
    r"\[/?INST\]",
    r"<</?SYS>>",
    r"<(?:start_of_turn|end_of_turn|bos|eos|pad|unk)>",
    r"</?(?:tool_call|tool_response|tools)>",
)


def fence(text: str, key: bytes) -> str:
    """The fence of `text`: eight hex digits that only the holder of `key` can compute."""
    keyed = _keyed(key).copy()
    keyed.update(text.encode("utf-8", "surrogatepass"))
    return keyed.hexdigest()[:FENCE_CHARS]


@lru_cache(maxsize=4)
def _keyed(key: bytes) -> hmac.HMAC:
    """The hash with its key taken in, which is half of the work on a short text; to be copied, not fed."""
    return hmac.new(key, digestmod="sha256")


@lru_cache(maxsize=32)
def _lookalikes(fixed: tuple[str, ...]) -> re.Pattern[str]:
    """Any look-alike, with any number of backslashes after its first character: so escaping adds one and can be undone."""
    tags = rf"</?(?:{'|'.join(REPLY_TAGS)})\s*>"
    patterns = [tags, *_CONTROL, *(_loosely(text) for text in fixed)]
    return re.compile("|".join(_with_backslashes(pattern) for pattern in patterns), re.IGNORECASE)


def _loosely(text: str) -> str:
    """A pattern for `text` that also matches other spacing."""
    return r"\s+".join(re.escape(word) for word in text.split())


def _with_backslashes(pattern: str) -> str:
    """Allow backslashes after the first character of what `pattern` matches (a literal or an escaped one)."""
    width = 2 if pattern.startswith("\\") else 1
    return rf"{pattern[:width]}\\*{pattern[width:]}"


def escape(text: str, fixed: Sequence[str] = ()) -> str:
    """`text` with a backslash more in every look-alike; `fixed` are a pack's own delimiters. `unescape` gives it back."""
    if not fixed and "<" not in text and "[" not in text:  # with which all of our own begin
        return text
    return _lookalikes(tuple(fixed)).sub(lambda match: match.group(0)[0] + "\\" + match.group(0)[1:], text)


def unescape(text: str, fixed: Sequence[str] = ()) -> str:
    """The inverse of `escape`."""

    def strip(match: re.Match[str]) -> str:
        found = match.group(0)
        return found[0] + found[2:] if found[1:2] == "\\" else found

    return _lookalikes(tuple(fixed)).sub(strip, text)
