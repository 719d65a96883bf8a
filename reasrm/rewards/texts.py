"""Turns a framework's prompts and completions into questions and responses, for all reward functions and routes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, cast

from reasrm.messages import EMPTY, flat_call, text_in
from reasrm.rewards.chat_templates import RenderedPrompt, read_rendered, without_special_tokens
from reasrm.rewards.thinking import Thinking, without_thought

log = logging.getLogger("reasrm.rewards")
MOST_WARNINGS = 20
_warned: set[str] = set()
#: Where messages keep a thought beside the content.
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")


def prompt_of(prompt: Any) -> RenderedPrompt:
    """A prompt as a question and the beginning of the response that the prompt contains.

    `prompt` is a text (as a chat template rendered it, or plain) or messages with any keys. A system message without text is left
    out. Logs a warning, once for each control token, where a text holds control tokens but is of no known form.
    """
    if isinstance(prompt, str):
        rendered = read_rendered(prompt)
        if rendered.unknown is not None:
            _warn(rendered.unknown)
        return rendered
    messages = [message for message in _messages(prompt, "strip") if message["role"] != "system" or message["content"].strip()]
    if len(messages) > 1 and messages[-1]["role"] == "assistant" and not messages[-1].get("tool_calls"):
        return RenderedPrompt(messages[:-1], text_in(cast("Sequence[Mapping[str, Any]]", prompt)[-1].get("content")))
    return RenderedPrompt(messages)


def response_of(completion: Any, begun: str = "", *, thinking: Thinking = "strip", special_tokens: bool = False) -> Any:
    """A completion (text or messages) as a response; one without text, or with nothing but an unfinished thought, as `EMPTY`.

    `begun` is the beginning that the prompt contains. `special_tokens` says that the text was decoded with its special tokens. A
    trajectory that was cut off after a tool's turn gets an empty last turn.
    """
    if isinstance(completion, str):
        text = without_thought(begun + completion) if thinking == "strip" else begun + completion
        text = without_special_tokens(text) if special_tokens else text
        return text if text.strip() else EMPTY
    turns = [dict(turn) for turn in cast("Sequence[Mapping[str, Any]]", completion)]
    if begun and turns and turns[0].get("role") == "assistant":
        turns[0]["content"] = begun + text_in(turns[0].get("content"))
    messages = [message for message in _messages(turns, thinking) if message["content"].strip() or message.get("tool_calls")]
    if not messages:
        return EMPTY
    return messages if messages[-1]["role"] == "assistant" else [*messages, {"role": "assistant", "content": EMPTY}]


def _messages(turns: Any, thinking: Thinking) -> list[dict[str, Any]]:
    return [_message(turn, thinking) for turn in cast("Sequence[Mapping[str, Any]]", turns)]


def _message(turn: Mapping[str, Any], thinking: Thinking) -> dict[str, Any]:
    """One turn with only the keys of `Message`, and only the text of its content."""
    text = text_in(turn.get("content"))
    if turn.get("role") == "assistant":
        thought = next((text_in(turn[name]) for name in _THOUGHTS if turn.get(name)), "")
        if thinking == "keep":
            text = with_thought(text, thought)
        elif text.strip():  # a turn with nothing but a thought stays a turn, to keep the roles in order
            text = without_thought(text) or ("" if turn.get("tool_calls") else EMPTY)
    message: dict[str, Any] = {"role": turn.get("role"), "content": text}
    if calls := turn.get("tool_calls"):
        flat = [flat_call(call) for call in cast("Sequence[Mapping[str, Any]]", calls)]
        message["tool_calls"] = [{name: call[name] for name in ("name", "arguments") if name in call} for call in flat]
    return message


def with_thought(text: str, thought: str) -> str:
    """`text` after a thought from a separate field, in the form of most models."""
    return f"<think>\n{thought}\n</think>\n\n{text}" if thought.strip() else text


def _warn(token: str) -> None:
    if token not in _warned and len(_warned) < MOST_WARNINGS:
        _warned.add(token)
        log.warning(
            "a prompt holds the control token %r but was rendered by no chat template that reasrm knows: it is judged as one plain "
            "text without control tokens; send prompts as messages instead",
            token,
        )
