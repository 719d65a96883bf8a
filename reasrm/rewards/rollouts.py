"""What the reward functions share: a framework's prompts and completions as messages, and one connection an event loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast
from weakref import WeakKeyDictionary

from reasrm.client import Judge
from reasrm.judging.group import EMPTY

_JUDGES: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[Any, ...], Judge]] = WeakKeyDictionary()


def judge_at(url: str, token: str | None, timeout_s: float) -> Judge:
    """The running loop's client of the gateway at `url`: opened when it is first asked for, so that what asks can be pickled."""
    judges = _JUDGES.setdefault(asyncio.get_running_loop(), {})
    place = (url, token, timeout_s)
    if place not in judges:
        judges[place] = Judge(url, token=token, timeout_s=timeout_s)
    return judges[place]


def question_of(prompt: Any) -> Any:
    """A prompt (text, or messages with more keys than ours) as the gateway takes it."""
    return prompt if isinstance(prompt, str) else _messages(prompt)


def response_of(completion: Any) -> Any:
    """A completion likewise; an empty one as `EMPTY`."""
    if isinstance(completion, str):
        return completion if completion.strip() else EMPTY
    messages = _messages(completion)
    if any(message["content"].strip() or message.get("tool_calls") for message in messages):
        return [message for message in messages if message["content"].strip() or message.get("tool_calls")]
    return EMPTY


def _messages(turns: Any) -> list[dict[str, Any]]:
    return [_message(turn) for turn in cast("Sequence[Mapping[str, Any]]", turns)]


def _message(turn: Mapping[str, Any]) -> dict[str, Any]:
    """One turn with the keys that are ours; tool calls come as OpenAI nests them or flat."""
    content = turn.get("content") or ""
    if not isinstance(content, str):
        content = "\n".join(str(part.get("text", "")) for part in cast("Sequence[Mapping[str, Any]]", content))
    message: dict[str, Any] = {"role": turn["role"], "content": content}
    if calls := turn.get("tool_calls"):
        message["tool_calls"] = [_call(call) for call in cast("Sequence[Mapping[str, Any]]", calls)]
    return message


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = cast("Mapping[str, Any]", call.get("function") or call)
    arguments = function.get("arguments", "{}")
    return {"name": function["name"], "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments)}
