"""Prompts that come rendered by a chat template, taken apart into messages again.

OpenRLHF decodes prompt and response with their special tokens. Those must not reach the judge as such: its own server would read
them as turns of its own conversation.
"""

from __future__ import annotations

import re
from typing import Any

_FORMS = (
    re.compile(r"<\|im_start\|>\s*(\w+)\n(.*?)(?:<\|im_end\|>|\Z)", re.DOTALL),  # ChatML: Qwen and many others
    re.compile(r"<\|start_header_id\|>\s*(\w+)\s*<\|end_header_id\|>\n*(.*?)(?:<\|eot_id\|>|\Z)", re.DOTALL),  # Llama 3
    re.compile(
        r"<\|(system|user|assistant)\|>\n?(.*?)(?=<\|(?:system|user|assistant)\|>|<\|end\|>|</s>|\Z)", re.DOTALL
    ),  # Zephyr, Phi
    re.compile(r"<start_of_turn>(\w+)\n(.*?)(?:<end_of_turn>|\Z)", re.DOTALL),  # Gemma
)
ANCHOR = 16  # characters of a prompt's end by which it is found
_ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "model": "assistant", "tool": "tool"}
_SPECIAL = re.compile(r"<\|[\w.\-]{1,40}\|>|<｜[^｜>]{1,40}｜>|</?s>|<(?:bos|eos|pad|unk)>|<(?:start|end)_of_turn>")


def question_of(prompt: str) -> Any:
    """A rendered prompt as messages that end with the user's; as one user message where no known template made it."""
    for form in _FORMS:
        turns = [(_ROLES.get(role.lower()), plain(text)) for role, text in form.findall(prompt)]
        if turns and turns[-1][0] == "assistant" and not turns[-1][1]:
            turns.pop()  # the header that asks for the response
        if turns and turns[-1][0] in ("user", "tool") and all(role for role, _ in turns):
            return [{"role": role, "content": text} for role, text in turns if text]
    return plain(prompt)


def after_prompt(query: str, prompt: str) -> str | None:
    """The response in `query`, which is `prompt` and the response decoded together; None where the prompt is not before it.

    A decoder may have changed white space, and a prompt that was too long has been cut from the left.
    """
    if query.startswith(prompt):
        return query[len(prompt) :]
    places = [place for place, character in enumerate(query) if not character.isspace()]
    folded, wanted = "".join(query[place] for place in places), "".join(prompt.split())
    ends = (found.end() for found in re.finditer(re.escape(wanted[-ANCHOR:]), folded) if wanted)
    end = next((each for each in ends if wanted.endswith(folded[:each])), None)
    return None if end is None else query[places[end - 1] + 1 :]


def plain(text: str) -> str:
    """`text` without special tokens around and in it."""
    return _SPECIAL.sub("", text).strip()
