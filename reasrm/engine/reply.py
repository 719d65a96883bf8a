"""The JSON of a reply as a `Completion`: streamed chunks are put together into the plain body and read the same way."""

from __future__ import annotations

import json
import math
import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from pydantic_core import from_json

from reasrm.engine.abilities import EngineInfo
from reasrm.engine.cutting import stop_in
from reasrm.errors import EngineError, EngineNonsense, EngineRefused, EngineUnreachable
from reasrm.parsing import mended
from reasrm.types import Ask, Completion, Token, Usage

TAIL_TOKENS = 64  # the verdict tag stands at the end of a reply: the log-probabilities before it are not kept
THOUGHT_END = "</think>"
MOST = 1.05  # the sum of probabilities, with what their rounding may add
#: A verdict's letter, which no other letter follows or precedes.
_LETTER = re.compile(r"(?<![A-Za-z])[ABab](?![A-Za-z])")


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
    """The chunks of a stream so far. `error` is an error that the engine reported inside the stream.

    `echo` is the beginning that the engine may repeat in front of its reply, "" where it does not. `finish` closes a stream that
    was left early, with its reason.
    """

    echo: str = ""
    error: dict[str, Any] | None = None
    _held: str = ""
    _pieces: int = 0
    _tokens: deque[Any] = field(default_factory=lambda: deque[Any](maxlen=2 * TAIL_TOKENS))
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
        self._tokens.extend(scored_tokens(choice))
        thought, text = _parts(choice.get("delta") or choice.get("message") or {})
        self._pieces += bool(thought or text)
        text = self._without_echo(text)
        piece = thought
        if thought:
            self._thought.append(thought)
        if text:
            piece += (THOUGHT_END if self._thought and not self._text else "") + text
            self._text.append(text)
        return piece

    def _without_echo(self, text: str) -> str:
        """The text of a piece that is not the repeated beginning; what may still become that is held."""
        if not self.echo:
            return text
        text = self._held + text
        if len(text) < len(self.echo) and self.echo.startswith(text):
            self._held = text
            return ""
        echo, self.echo, self._held = self.echo, "", ""
        return text.removeprefix(echo)

    def finish(self, reason: str) -> None:
        """Take the reply as it is, although the engine did not end it. Its tokens are then counted by the pieces of the stream."""
        self._finish, self._done = reason, True
        self._usage = self._usage or {"completion_tokens": self._pieces}

    def body(self, url: str) -> dict[str, Any]:
        """The body that a plain request would have had. Raises `EngineUnreachable` for a stream that ends in the middle."""
        if self._finish is None and not self._done:
            raise EngineUnreachable(f"the stream of the engine at {url} ended in the middle of the reply")
        message = {"content": "".join(self._text) + self._held, "reasoning_content": "".join(self._thought)}
        choice = {"message": message, "finish_reason": self._finish, "logprobs": {"content": list(self._tokens)}}
        return {"choices": [choice], "usage": self._usage, "metadata": self._metadata}

    @property
    def unsaid(self) -> str:
        """The text that is only in the whole reply: held text, or the closing mark of a thought without an answer."""
        return self._held or (THOUGHT_END if self._thought and not self._text else "")


def completion_of(body: dict[str, Any], info: EngineInfo, ask: Ask, seconds: float = 0.0, *, echo: str = "") -> Completion:
    """The completion of `ask` by `info` in a chat-completion body; `echo` is a beginning that the engine may repeat.

    It ends at the first stop string, also where the engine ignores `Ask.stop`. Raises `EngineError`, mostly `EngineNonsense`.
    """
    try:
        choice = body["choices"][0]
        _check_finish(choice.get("finish_reason"))
        thought, text = _parts(choice["message"])
        text = text.removeprefix(echo)
        # A server that parses reasoning hands the thought over separately; the judge's format wants it in place.
        text = f"{thought}{THOUGHT_END}{text}" if thought else text
        stopped = stop_in(text, ask.stop)
        usage: dict[str, Any] = body.get("usage") or {}
        details: dict[str, Any] = usage.get("prompt_tokens_details") or {}
        return Completion(
            text=text[:stopped],
            finish_reason="length" if choice.get("finish_reason") == "length" and stopped is None else "stop",
            tokens=_tokens(choice, ask, ask.temperature if info.sglang else 1.0),
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


def scored_tokens(choice: dict[str, Any]) -> list[Any]:
    """The tokens with log-probabilities in a choice, plain or streamed; empty without any."""
    logprobs = choice.get("logprobs")
    content = cast(dict[str, Any], logprobs).get("content") if isinstance(logprobs, dict) else None
    return cast(list[Any], content) if isinstance(content, list) else []


def _tokens(choice: dict[str, Any], ask: Ask, temperature: float) -> tuple[Token, ...] | None:
    """The last tokens up to a stop string; None where the engine gave no log-probabilities, or impossible ones.

    Tokens that may hold a verdict's letter have their alternatives; the others have none. SGLang computes log-probabilities after
    the temperature; this undoes the scaling.
    """
    try:
        content = _until_stop(scored_tokens(choice), ask.stop)
        alone = len(content) == 1  # a single token was requested for its alternatives
        scale = temperature or 1.0
        return tuple(_token(entry, scale, alone=alone) for entry in content[-TAIL_TOKENS:]) or None
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        return None


def _until_stop(content: Sequence[Any], stops: Sequence[str]) -> Sequence[Any]:
    """The tokens that begin before the first stop string."""
    end = stop_in("".join(entry["token"] for entry in content), stops) if stops else None
    if end is None:
        return content
    length = 0
    for count, entry in enumerate(content):
        if length >= end:
            return content[:count]
        length += len(entry["token"])
    return content


def _token(entry: dict[str, Any], scale: float, *, alone: bool) -> Token:
    """A token. Reading alternatives is most of the work, so only tokens that may hold a verdict's letter have them."""
    text = mended(entry["token"])
    if not alone and not _LETTER.search(text):
        return Token(text=text, top={})
    if not plausible(entry):
        raise ValueError("these are no log-probabilities")
    return Token(text=text, top={text: scale * logprob for text, logprob in _alternatives(entry).items()})


def plausible(entry: Any) -> bool:
    """Whether a token's log-probabilities are numbers whose probabilities add up to at most one."""
    try:
        return sum(map(math.exp, _alternatives(entry).values())) <= MOST  # not for one that is not a number
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        return False


def _alternatives(entry: dict[str, Any]) -> dict[str, float]:
    listed = (*(entry.get("top_logprobs") or ()), entry)
    return {mended(alternative["token"]): float(alternative["logprob"]) for alternative in listed}
