"""Prompts that a chat template has rendered to one text, taken apart into messages again.

OpenRLHF and slime send prompts as the policy's tokenizer wrote them. Their control tokens must not reach the judge, because its
server would read them as turns of the judge's own conversation. `FORMS` lists how each family of models writes a turn; a new family
is a new row.

Every pattern is bounded, so that reading takes time linear in the text's length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from reasrm.rewards.thinking import is_closed_thought, opens_thought, without_thought

MAX_TURNS = 4096


@dataclass(frozen=True, slots=True)
class Form:
    """How a family of `models` writes a turn: `header`, the text, one of `ends`.

    `header` has the group `role`, and may have the group `opening`, which is already a part of the turn's text. `roles` translates
    the family's names of roles; a role that becomes "" is a mark between turns, without a text. Other names become the
    `unknown_role`. A form that `leads` has the system prompt before its first header. Only prompts that hold `marker` can be of
    this form.
    """

    models: str
    marker: str
    header: re.Pattern[str]
    ends: tuple[str, ...]
    roles: dict[str, str] = field(default_factory=dict[str, str])
    leads: bool = False
    unknown_role: str | None = None


_MISTRAL = {
    "INST": "user",
    "/INST": "assistant",
    "SYSTEM_PROMPT": "system",
    "/SYSTEM_PROMPT": "",
    "AVAILABLE_TOOLS": "system",
    "/AVAILABLE_TOOLS": "",
    "MODEL_SETTINGS": "system",
    "/MODEL_SETTINGS": "",
    "TOOL_RESULTS": "tool",
    "/TOOL_RESULTS": "assistant",
    "<SYS>": "system",
    "</SYS>": "user",
}

FORMS = (
    Form(
        "ChatML: Qwen, Hermes, SmolLM, LFM, Nemotron 3, OLMo 3 and many others",
        "<|im_start|>",
        re.compile(r"<\|im_start\|> ?(?P<role>\w{1,32})\n"),
        ("<|im_end|>", "<|endoftext|>"),
    ),
    Form("Phi 4", "<|im_sep|>", re.compile(r"<\|im_start\|>(?P<role>\w{1,32})<\|im_sep\|>"), ("<|im_end|>",)),
    Form(
        "Llama 3",
        "<|start_header_id|>",
        re.compile(r"<\|start_header_id\|>\s{0,2}(?P<role>\w{1,32})\s{0,2}<\|end_header_id\|>"),
        ("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"),
        {"ipython": "tool"},
    ),
    Form(
        "Llama 4",
        "<|header_start|>",
        re.compile(r"<\|header_start\|>(?P<role>\w{1,32})<\|header_end\|>"),
        ("<|eot|>", "<|eom|>", "<|end_of_text|>"),
        {"ipython": "tool"},
    ),
    Form(
        "gpt-oss (harmony)",
        "<|start|>",
        re.compile(
            r"<\|start\|>(?P<role>[\w.\-]{1,64})(?: to=[\w.\-]{1,64})?"
            r"(?P<opening><\|channel\|>[^<\n]{1,100}<\|message\|>)?(?:<\|message\|>)?"
        ),
        ("<|end|>", "<|return|>", "<|call|>"),
        {"developer": "system"},
        unknown_role="tool",  # a tool's turn has the name of the tool
    ),
    Form(
        "Zephyr, Phi 3, Tulu, GLM 4",
        "|>",
        re.compile(r"<\|(?P<role>system|user|assistant|observation|tool)\|>"),
        ("<|end|>", "</s>", "<|endoftext|>"),
        {"observation": "tool"},
    ),
    Form("Gemma 1 to 3", "<start_of_turn>", re.compile(r"<start_of_turn>(?P<role>\w{1,32})\n"), ("<end_of_turn>", "<eos>")),
    Form("Gemma 4", "<|turn>", re.compile(r"<\|turn>(?P<role>\w{1,32})\n"), ("<turn|>", "<eos>")),
    Form(
        "DeepSeek",
        "<｜User｜>",
        re.compile(r"<｜(?P<role>User|Assistant|tool▁outputs▁begin)｜>"),
        ("<｜end▁of▁sentence｜>",),
        {"tool▁outputs▁begin": "tool"},
        leads=True,
    ),
    Form(
        "Mistral, Llama 2",
        "[INST]",
        re.compile(rf"[\[<](?P<role>{'|'.join(_MISTRAL)})[\]>]"),
        ("</s>",),
        _MISTRAL,
    ),
    Form(
        "Granite",
        "<|start_of_role|>",
        re.compile(r"<\|start_of_role\|>(?P<role>\w{1,32})[^<\n]{0,200}<\|end_of_role\|>"),
        ("<|end_of_text|>",),
        {"tool_response": "tool", "available_tools": "system", "tools": "system", "documents": "system"},
    ),
    Form(
        "Kimi",
        "<|im_middle|>",
        re.compile(r"<\|im_(?P<role>system|user|assistant)\|>[^<\n]{0,64}<\|im_middle\|>"),
        ("<|im_end|>",),
    ),
    Form(
        "Command R and A",
        "<|START_OF_TURN_TOKEN|>",
        re.compile(r"<\|START_OF_TURN_TOKEN\|><\|(?P<role>SYSTEM|USER|CHATBOT)_TOKEN\|>"),
        ("<|END_OF_TURN_TOKEN|>",),
        {"chatbot": "assistant"},
    ),
    Form("Seed", "<seed:bos>", re.compile(r"<seed:bos>(?P<role>\w{1,32})\n"), ("<seed:eos>",)),
    Form("MiniMax M", "]~b]", re.compile(r"\]~b\](?P<role>\w{1,32})[^\n\[]{0,64}\n"), ("[e~[",), {"ai": "assistant"}),
    Form("EXAONE", "[|user|]", re.compile(r"\[\|(?P<role>system|user|assistant|tool)\|\]"), ("[|endofturn|]",)),
    Form(
        "Nemotron Nano 2",
        "<SPECIAL_1",
        re.compile(r"<SPECIAL_1[01]>(?P<role>System|User|Assistant|Tool)\n"),
        ("<SPECIAL_12>",),
    ),
    Form(
        "Ling, Ring",
        "<|role_end|>",
        re.compile(r"<role>(?P<role>\w{1,32})</role>"),
        ("<|role_end|>",),
        {"human": "user", "observation": "tool"},
    ),
)

_ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "model": "assistant", "tool": "tool"}
#: The text before the first turn of a whole prompt.
_BEGINNING = re.compile(
    r"(?:\s|<s>|<bos>|<BOS_TOKEN>|<\|begin_of_text\|>|<\|startoftext\|>|<\|endoftext\|>|<｜begin▁of▁sentence｜>|\[gMASK\]|<sop>"
    r"|\]~!b\[|<\|begin_of_sentence\|>)*"
)
_SPECIAL = re.compile(
    r"<\|[\w.\-]{1,40}\|?>|<[\w.\-]{1,40}\|>|<｜[^｜>]{1,40}｜>|</?s>|<(?:bos|eos|pad|unk|sop)>|<(?:start|end)_of_turn>|\[gMASK\]"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS|MODEL_SETTINGS)\]|<</?SYS>>|<seed:[be]os>|\]~!?b[\]\[]|\[e~\["
    r"|\[\|[a-z]{4,12}\|\]|<SPECIAL_\d{1,3}>|<BOS_TOKEN>|<end_of_utterance>"
)


class RenderedPrompt(NamedTuple):
    """A prompt as messages (or as one text, if no template made it), and the beginning of the response that it contains.

    `begun` is an opened thought or a prefix that the policy continues; it belongs to the response. `unknown` is the first control
    token of a prompt that holds some, but is of no known form.
    """

    question: Any
    begun: str = ""
    unknown: str | None = None


def read_rendered(prompt: str) -> RenderedPrompt:
    """Read a prompt that a chat template may have rendered. One of an unknown form becomes a text without control tokens."""
    for form in FORMS:
        if form.marker in prompt and (rendered := _read_as(form, prompt)) is not None:
            return rendered
    begins = _BEGINNING.match(prompt)
    token = _SPECIAL.search(prompt, begins.end() if begins else 0)
    return RenderedPrompt(without_special_tokens(prompt), unknown=token.group() if token else None)


def without_special_tokens(text: str) -> str:
    """`text` without control tokens around and in it."""
    return _SPECIAL.sub("", text).strip()


def _read_as(form: Form, prompt: str) -> RenderedPrompt | None:
    """The prompt as one of `form`; None where it is not."""
    headers = list(islice(form.header.finditer(prompt), MAX_TURNS + 1))
    begins = _BEGINNING.match(prompt)
    if not 0 < len(headers) <= MAX_TURNS or begins is None:
        return None
    lead = prompt[begins.end() : headers[0].start()].strip() if headers[0].start() > begins.end() else ""
    if lead and not form.leads:
        return None
    turns = [("system", without_special_tokens(lead))] if lead else []
    begun = ""
    for place, header in enumerate(headers):
        last = place + 1 == len(headers)
        text = prompt[header.end() : None if last else headers[place + 1].start()]
        role = _role_of(form, header["role"])
        if role is None or (role == "" and text.strip()):
            return None
        opening = header.groupdict().get("opening") or ""
        if last and role == "assistant":
            begun = _begun(opening + text)
        elif role and not opening.startswith("<|channel|>analysis"):
            content = _without_ends(text, form.ends)
            turns.append((role, without_special_tokens(without_thought(content) if role == "assistant" else content)))
    messages = _messages(turns)
    if not messages or messages[-1]["role"] not in ("user", "tool"):
        return None
    return RenderedPrompt(messages, begun)


def _role_of(form: Form, name: str) -> str | None:
    known = _ROLES | form.roles
    return known.get(name, known.get(name.lower(), form.unknown_role))


def _begun(text: str) -> str:
    """The beginning of the response in its own turn: an opened thought, or the first words, but not a closed thought."""
    if is_closed_thought(text):
        return ""
    return text.lstrip() if opens_thought(text) else without_special_tokens(text)


def _without_ends(text: str, ends: tuple[str, ...]) -> str:
    text = text.strip()
    while text.endswith(ends):
        text = next(text[: -len(end)] for end in ends if text.endswith(end)).rstrip()
    return text


def _messages(turns: list[tuple[str, str]]) -> list[dict[str, str]]:
    """The turns with a text. Several system prompts at the beginning become one; a later one counts as a user's turn."""
    messages: list[dict[str, str]] = []
    for role, text in turns:
        if not text and role != "tool":
            continue
        if role == "system" and messages:
            if len(messages) == 1 and messages[0]["role"] == "system":
                messages[0]["content"] += f"\n\n{text}"
                continue
            role = "user"
        messages.append({"role": role, "content": text})
    return messages
