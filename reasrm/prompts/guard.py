"""Guards that keep the judged texts from acting as anything but text.

Two means:
- a fence that cannot be forged: the HMAC of the fenced text under a secret. A text cannot hold its own fence, since any attempt to
  write it in changes it; equal texts get equal fences, so requests, caches and prefixes stay equal.
- escaping of look-alikes: the tags of a reply, the control texts of chat templates and, in packs whose delimiters are fixed, those
  delimiters and the lines that name a speaker get a backslash after their first character. `unescape` takes it away again.
"""

from __future__ import annotations

import hmac
import re
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

from reasrm.grammar import REPLY_TAGS

FENCE_CHARS = 8  # 32 bits: nobody without the secret can try offline, and a guess costs a judgment

#: The control texts of chat templates: how each begins (one literal character, perhaps with a look-behind) and how it continues.
#: A pattern that may overlap with the next text (by a bracket) ends in a look-ahead.
_CONTROL: tuple[tuple[str, str], ...] = (
    ("<", r"[|｜][^<>\n]{1,48}[|｜]>"),  # ChatML, Llama 3, Phi, gpt-oss, GLM, Granite; DeepSeek with full-width bars
    ("<", r"(?:\|[\w/]{1,48}|[\w/]{1,48}\|)>"),  # Gemma 4
    ("<", r"/?s>"),  # Llama 2, Mistral
    ("<", r"</?SYS>>"),  # Llama 2
    ("<", r"(?:start|end)_of_(?:turn|image|audio)>|(?:start|end)_function_(?:call|declaration|response)>"),  # Gemma
    ("<", r"(?:bos|eos|pad|unk|cls|sep|mask|sop|eop|eoh|eoa|eod|image_soft_token)>"),  # Gemma, GLM, InternLM
    ("<", r"(?:unused|reserved_|extra_id_|SPECIAL_)\d{1,6}>"),  # Gemma, Baichuan, Nemotron
    ("<", r"(?:BOS|EOS|EOP|PAD|UNK|CLS|SEP|MASK)_TOKEN>"),  # Cohere
    ("<", r"/?(?:seed|minimax):\w{1,48}>|(?:beginning|end)_of_sentence>"),  # Seed, MiniMax
    (
        "<",
        r"/?(?:tool_call|tool_response|tools|TOOLCALL|TOOL_RESPONSE|AVAILABLE_TOOLS)>|/?arg_(?:key|value)>",
    ),  # Qwen, Nemotron, GLM
    (r"\[", r"/?INST(?=\])"),  # Llama 2, Mistral
    (
        r"\[",
        r"(?-i:/?(?:AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|SYSTEM_PROMPT|MODEL_SETTINGS|CALL_ID|ARGS|THINK"
        r"|IMG|IMG_BREAK|IMG_END|AUDIO|BEGIN_AUDIO|TRANSCRIBE|PREFIX|MIDDLE|SUFFIX)(?=\]))",
    ),  # Mistral
    (r"\[", r"(?:\|[^\[\]\n]{1,48}\||(?-i:BOS|EOS|PAD|UNK))(?=\])"),  # EXAONE
    (r"\[", r"(?-i:[gs]?MASK)(?=\])"),  # GLM
    (r"\[", r"e~(?=\[)"),  # MiniMax
    (r"\]", r"~!?b(?=[\[\]])|<\][^\[\]<>\n]{1,48}\[>(?=\[)"),  # MiniMax
    (r"/(?<![\w./]/)", r"(?:no_?)?think(?![\w/])"),  # Qwen, GLM, Nemotron: switches of the thought
    ("◁", r"/?\w{1,48}▷"),  # Kimi
)
#: The lines of a transcript that name a speaker, as `reasrm.prompts.pack` writes them without a fence.
_SPEAKER = (r"\[", r"(?:system|user|assistant|tool)(?:\s[^\[\]\n]{0,120})?(?=\])")
_FIRST_CHARACTERS = re.compile(r"[<\[\]/◁]")
#: The tags that a reply's beginning may not hold when a caller brings it: those that come after the rubric or solution.
_LATER_TAGS = ("eval", "answer", "quote_A", "quote_B", "summary_A", "summary_B")


def fence(text: str, key: bytes) -> str:
    """The fence of `text`: eight hex digits that only the holder of `key` can compute."""
    keyed = _keyed(key).copy()
    keyed.update(text.encode("utf-8", "surrogatepass"))
    return keyed.hexdigest()[:FENCE_CHARS]


@lru_cache(maxsize=4)
def _keyed(key: bytes) -> hmac.HMAC:
    """The hash after its key, which is half of the work on a short text. Copy it before adding a text."""
    return hmac.new(key, digestmod="sha256")


def without_fences(text: str, fences: Sequence[str]) -> str:
    """`text` with a backslash in every one of `fences`: a text may have learned the fence of another text in the prompt."""
    for mark in fences:
        if mark and mark in text:
            text = text.replace(mark, f"{mark[0]}\\{mark[1:]}")
    return text


def escape(text: str, fixed: Sequence[str] = (), *, speakers: bool = False) -> str:
    """`text` with one more backslash in every look-alike; `unescape` with the same arguments gives it back.

    `fixed` are a pack's own delimiters; `speakers` is for packs whose transcripts have lines such as "[user]" without a fence.
    """
    if not fixed and not _FIRST_CHARACTERS.search(text):
        return text
    return _with_backslash(_lookalikes(REPLY_TAGS, tuple(fixed), speakers), text)


def escape_deliberation(text: str) -> str:
    """A caller's beginning of a reply, without control texts and without the tags that come after a rubric or solution.

    Its own tags (`<type>`, `<rubric>`, `<solution>`, ...) stay, since the reply continues from them.
    """
    return _with_backslash(_lookalikes(_LATER_TAGS, (), False), text)


def unescape(text: str, fixed: Sequence[str] = (), *, speakers: bool = False) -> str:
    """The inverse of `escape`."""

    def strip(match: re.Match[str]) -> str:
        lookalike = match.group(0)
        return lookalike[0] + lookalike[2:] if lookalike[1:2] == "\\" else lookalike

    return _lookalikes(REPLY_TAGS, tuple(fixed), speakers).sub(strip, text)


def _with_backslash(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda match: f"{match.group(0)[0]}\\{match.group(0)[1:]}", text)


@lru_cache(maxsize=32)
def _lookalikes(tags: tuple[str, ...], fixed: tuple[str, ...], speakers: bool) -> re.Pattern[str]:
    """Any look-alike, with any number of backslashes after its first character: so that escaping adds one and can be undone.

    Look-alikes that begin alike share an alternative that begins with a literal: the engine skips all other characters fast.
    """
    begun: defaultdict[str, list[str]] = defaultdict(list)
    speaker = [_SPEAKER] if speakers else []
    for begin, rest in (("<", rf"/?(?:{'|'.join(tags)})\s*>"), *_CONTROL, *speaker, *map(_delimiter, filter(str.strip, fixed))):
        begun[begin].append(rest)
    return re.compile("|".join(rf"{begin}\\*(?:{'|'.join(rests)})" for begin, rests in begun.items()), re.IGNORECASE)


def _delimiter(text: str) -> tuple[str, str]:
    """A pattern for a pack's own delimiter, with any spacing."""
    first, *words = text.split()
    rest = r"\s+".join(re.escape(word) for word in (first[1:], *words))
    if text.rstrip()[-1:] in "[]/" and rest:  # another look-alike may begin with these
        rest = re.sub(r"(\\?.)\Z", r"(?=\1)", rest)
    # A run of backslashes is tried from its first one only: else it would take quadratic time.
    return re.escape(first[0]) + (r"(?<!\\\\)" if first[0] == "\\" else ""), rest
