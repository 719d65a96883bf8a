"""What the reward functions share: a framework's prompts and completions as messages, and one connection an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast
from weakref import WeakKeyDictionary

from reasrm.client import Judge
from reasrm.judging.group import EMPTY
from reasrm.messages import flat_call, text_in

AWAY_S = 30.0
_JUDGES: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[Any, ...], Judge]] = WeakKeyDictionary()


def judge_at(url: str, token: str | None, timeout_s: float) -> Judge:
    """The running loop's client of the gateway at `url`: opened when it is first asked for, so that what asks can be pickled."""
    judges = _JUDGES.setdefault(asyncio.get_running_loop(), {})
    place = (url, token, timeout_s)
    if place not in judges:
        judges[place] = Judge(url, **patient(token, timeout_s))
    return judges[place]


def patient(token: str | None, timeout_s: float) -> dict[str, Any]:
    """A client's settings: a gateway that is away, as while it is restarted, is waited for `AWAY_S` seconds at most."""
    return {"token": token, "timeout_s": timeout_s, "away_s": min(timeout_s, AWAY_S)}


def question_of(prompt: Any) -> Any:
    """A prompt (text, or messages with more keys than ours) as the gateway takes it, without a system turn that says nothing."""
    if isinstance(prompt, str):
        return prompt
    return [message for message in _messages(prompt) if message["role"] != "system" or message["content"].strip()]


def response_of(completion: Any) -> Any:
    """A completion likewise; an empty one as `EMPTY`, and so the last turn of one that was cut off after a tool's."""
    if isinstance(completion, str):
        return completion if completion.strip() else EMPTY
    messages = [message for message in _messages(completion) if message["content"].strip() or message.get("tool_calls")]
    if not messages:
        return EMPTY
    return messages if messages[-1]["role"] == "assistant" else [*messages, {"role": "assistant", "content": EMPTY}]


def _messages(turns: Any) -> list[dict[str, Any]]:
    return [_message(turn) for turn in cast("Sequence[Mapping[str, Any]]", turns)]


def _message(turn: Mapping[str, Any]) -> dict[str, Any]:
    """One turn with the keys that are ours, and of its content the text."""
    message: dict[str, Any] = {"role": turn.get("role"), "content": text_in(turn.get("content"))}
    if calls := turn.get("tool_calls"):
        flat = [flat_call(call) for call in cast("Sequence[Mapping[str, Any]]", calls)]
        message["tool_calls"] = [{name: call[name] for name in ("name", "arguments") if name in call} for call in flat]
    return message
