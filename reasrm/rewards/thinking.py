"""The policy's thinking: what a reasoning model writes before its answer.

A judge compares answers. A thought in front of an answer makes it long, may argue with the judge, and is hidden from users. So
thoughts are left out unless `thinking="keep"` says otherwise, by this one function, on every route and in every reward function.
"""

from __future__ import annotations

import re
from typing import Literal

#: The treatment of thoughts: "strip" leaves them out, "keep" judges them as part of the response.
Thinking = Literal["strip", "keep"]

#: The opening and closing marks of a thought, by family of models.
MARKS = {
    "<think>": "</think>",  # Qwen, DeepSeek, GLM, MiniMax, Nemotron, Granite, SmolLM, OLMo
    "<seed:think>": "</seed:think>",  # Seed
    "<thought>": "</thought>",  # EXAONE Deep
    "[THINK]": "[/THINK]",  # Magistral
    "◁think▷": "◁/think▷",  # Kimi
    "<|START_THINKING|>": "<|END_THINKING|>",  # Command A
    "<|begin_of_thought|>": "<|end_of_thought|>",  # OpenThinker, Sky-T1
    "<|channel>thought\n": "<channel|>",  # Gemma 4
    "<|channel|>analysis<|message|>": "<|channel|>final<|message|>",  # gpt-oss
}
_OPENS = {close: open_ for open_, close in MARKS.items()}
_MARK = re.compile("|".join(re.escape(mark) for mark in (*MARKS, *_OPENS)))
#: gpt-oss decoded without its special tokens.
_HARMONY = re.compile(r"\s*analysis(?=\S)")
_FINAL = "assistantfinal"


def without_thought(text: str) -> str:
    """`text` without thoughts; "" if it is nothing but an unfinished thought. Text without marks stays as it is.

    A thought that the prompt opened has no opening mark: everything before the first closing mark is one. A thought that is never
    closed ends with the text, if it opens at the beginning of a line. A mark after a quotation mark counts as quoted text.
    """
    if _HARMONY.match(text) and _FINAL in text:
        return text.partition(_FINAL)[2].lstrip()
    kept: list[str] = []
    start, opened, met = 0, None, False
    for mark in _MARK.finditer(text):
        if text[mark.start() - 1 : mark.start()] in ("`", '"', "'", "“"):
            continue
        name = mark.group()
        if opened is not None:
            if name == MARKS[opened.group()]:
                kept.append(text[start : opened.start()])
                start, opened = mark.end(), None
        elif name in MARKS:
            opened = mark
        elif not met:
            start = mark.end()
        met = True
    if opened is not None and _begins_line(text, opened.start()):
        kept.append(text[start : opened.start()])
        start = len(text)
    return text if start == 0 else "".join([*kept, text[start:]]).strip()


def is_closed_thought(text: str) -> bool:
    """Whether `text` is a closed thought and nothing else, which templates write to switch thinking off."""
    return text.strip().endswith(tuple(_OPENS)) and not without_thought(text)


def opens_thought(text: str) -> bool:
    """Whether a thought begins in `text`."""
    return any(mark in text for mark in MARKS)


def _begins_line(text: str, place: int) -> bool:
    return not text[text.rfind("\n", 0, place) + 1 : place].strip()
