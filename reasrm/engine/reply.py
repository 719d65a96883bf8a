"""The JSON of a reply as a `Completion`: streamed chunks are put together into the plain body and read the same way."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from pydantic_core import from_json

from reasrm.errors import EngineError, EngineNonsense, EngineRefused, EngineUnreachable
from reasrm.parsing import mended
from reasrm.types import Ask, Completion, Token, Usage

TAIL_TOKENS = 64  # the verdict tag stands at the end of a reply: the log-probabilities before it are not kept
THOUGHT_END = "</think>"
#: A verdict's letter, which no other letter follows or precedes.
_LETTER = re.compile(r"(?<![A-Za-z])[ABab](?![A-Za-z])")


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """An engine's model name, the version of its weights, its context window in tokens (0 = unknown), whether it is SGLang."""

    model: str
    weight_version: str
    max_context: int
    sglang: bool


class HttpReply(NamedTuple):
    """A server's reply to one HTTP request; `url` is the address of the request."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


def object_of(body: bytes, url: str) -> dict[str, Any]:
    """The JSON object in the body of a reply from `url`. Raises `EngineNonsense`."""
    try:
        try:
            value = from_json(body)  # in less than half of the time of Python's own
        except ValueError:
            value = json.loads(body)  # it accepts halves of surrogate pairs; `mended` repairs them
    except (ValueError, RecursionError) as error:  # RecursionError: thousands of brackets
        raise EngineNonsense(f"{url} did not answer JSON") from error
    if not isinstance(value, dict):
        raise EngineNonsense(f"{url} answered {type(value).__name__} where an object was expected")
    return cast(dict[str, Any], value)


@dataclass(slots=True)
class StreamedReply:
    """The chunks of a stream so far. `error` is an error that the engine reported inside the stream."""

    error: dict[str, Any] | None = None
    _thought: list[str] = field(default_factory=list[str])
    _text: list[str] = field(default_factory=list[str])
    _finish: str | None = None
    _usage: dict[str, Any] = field(default_factory=dict[str, Any])
    _metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    _done: bool = False

    def add(self, data: str) -> str:
        """Take the data of one event; return the text that it adds to the reply, often none. Raises `EngineNonsense`."""
        if data.strip() == "[DONE]":
            self._done = True
            return ""
        try:
            chunk: dict[str, Any] = json.loads(data)
            if chunk.get("error"):
                self.error = chunk
                return ""
            self._usage = chunk.get("usage") or self._usage
            self._metadata = chunk.get("metadata") or self._metadata
            return "".join(self._add(choice) for choice in chunk.get("choices") or ())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise EngineNonsense(f"the engine streamed no chat completion: {data[:120]!r}") from error

    def _add(self, choice: dict[str, Any]) -> str:
        self._finish = choice.get("finish_reason") or self._finish
        thought, text = _parts(choice.get("delta") or choice.get("message") or {})
        piece = thought
        if thought:
            self._thought.append(thought)
        if text:
            piece += (THOUGHT_END if self._thought and not self._text else "") + text
            self._text.append(text)
        return piece

    def body(self, url: str) -> dict[str, Any]:
        """The body that a plain request would have had. Raises `EngineUnreachable` for a stream that ends in the middle."""
        if self._finish is None and not self._done:
            raise EngineUnreachable(f"the stream of the engine at {url} ended in the middle of the reply")
        message = {"content": "".join(self._text), "reasoning_content": "".join(self._thought)}
        choice = {"message": message, "finish_reason": self._finish}
        return {"choices": [choice], "usage": self._usage, "metadata": self._metadata}

    @property
    def unsaid(self) -> str:
        """The text that is only in the whole reply: the closing mark of a thought without an answer."""
        return THOUGHT_END if self._thought and not self._text else ""


def completion_of(body: dict[str, Any], info: EngineInfo, ask: Ask, seconds: float = 0.0) -> Completion:
    """The completion of `ask` by `info` in a chat-completion body. Raises `EngineError`, mostly `EngineNonsense`."""
    try:
        choice = body["choices"][0]
        _check_finish(choice.get("finish_reason"))
        thought, text = _parts(choice["message"])
        usage: dict[str, Any] = body.get("usage") or {}
        details: dict[str, Any] = usage.get("prompt_tokens_details") or {}
        return Completion(
            # A server that parses reasoning hands the thought over separately; the judge's format wants it in place.
            text=f"{thought}{THOUGHT_END}{text}" if thought else text,
            finish_reason="length" if choice.get("finish_reason") == "length" else "stop",
            tokens=_tokens(choice.get("logprobs"), ask.temperature if info.sglang else 1.0),
            usage=Usage(
                prompt_tokens=_count(usage, "prompt_tokens"),
                completion_tokens=_count(usage, "completion_tokens"),
                cached_tokens=_count(details, "cached_tokens"),
                requests=1,
            ),
            seconds=seconds,
            model=info.model,
            weight_version=_served_version(body, info),
        )
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise EngineNonsense(f"the engine answered no chat completion: {str(body)[:120]}") from error


def _check_finish(reason: str | None) -> None:
    if reason == "abort":
        raise EngineError("the engine aborted the request")
    if reason == "error":
        raise EngineError("the engine failed in the middle of the reply")
    if reason == "content_filter":
        raise EngineRefused("the engine's content filter withheld the reply")


def _parts(message: dict[str, Any]) -> tuple[str, str]:
    """(thought, text) of a message or of a stream's delta. vLLM renamed `reasoning_content`; either part may be null."""
    thought = message.get("reasoning_content") or message.get("reasoning") or ""
    return mended(thought), mended(message.get("content") or "")


def _count(usage: dict[str, Any], what: str) -> int:
    return max(0, int(usage.get(what) or 0))


def _served_version(body: dict[str, Any], info: EngineInfo) -> str:
    """The weight version that SGLang states in each answer."""
    metadata: dict[str, Any] = body.get("metadata") or {}
    return str(metadata.get("weight_version", info.weight_version))


def _tokens(logprobs: dict[str, Any] | None, temperature: float) -> tuple[Token, ...] | None:
    """The last tokens. Those that may hold a verdict's letter have their alternatives; the others have none.

    SGLang computes log-probabilities after the temperature; this undoes the scaling.
    """
    content = (logprobs or {}).get("content")
    if not content:
        return None
    scale = temperature or 1.0
    alone = len(content) == 1  # a single token was requested for its alternatives
    return tuple(_token(entry, scale, alone=alone) for entry in content[-TAIL_TOKENS:])


def _token(entry: dict[str, Any], scale: float, *, alone: bool) -> Token:
    """A token. Reading alternatives is most of the work, so only tokens that may hold a verdict's letter have them."""
    text = mended(entry["token"])
    if not alone and not _LETTER.search(text):
        return Token(text=text, top={})
    alternatives = (*(entry.get("top_logprobs") or ()), entry)
    return Token(text=text, top={mended(alternative["token"]): scale * alternative["logprob"] for alternative in alternatives})
