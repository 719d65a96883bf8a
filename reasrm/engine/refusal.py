"""An engine's refusals and broken connections as errors. Its own words go to the log, and into the error's message only with
`show`: a gateway's callers may not be allowed to see them."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from typing import Any, cast

import httpx

from reasrm.address import shown_address
from reasrm.engine.reply import HttpReply
from reasrm.errors import (
    ConfigurationError,
    EngineBusy,
    EngineError,
    EngineRefused,
    EngineTimeout,
    EngineUnreachable,
    ReasrmError,
    TooLong,
)
from reasrm.transport import misconfigured, retry_after_s, words_of

log = logging.getLogger("reasrm.engine")
AGAIN_S = 60.0  # seconds between two log lines with the same words
_TOO_LONG = ("context length", "maximum allowed length", "context window", "context size")
_WRONG_KEY = re.compile(r"(?i)api[ _-]?key\b.*\b(invalid|not valid|incorrect)|\b(invalid|incorrect)\b.*\bapi[ _-]?key")
_NO_MODEL = re.compile(r"(?i)\bmodel\b.{0,120}\b(does not exist|not found|not exist)")


class Refusals:
    """Turns answers without a completion from the engine at `url` into errors. `secrets` (its key) are never repeated."""

    def __init__(self, url: str, *, secrets: tuple[str, ...] = (), show: bool = True) -> None:
        self.url = shown_address(url)
        self._secrets = tuple(secret for secret in secrets if secret)
        self._show = show
        self._logged: dict[str, float] = {}

    def of_reply(self, reply: HttpReply) -> ReasrmError:
        """The error that a reply with a status other than 200 means."""
        if reply.status in (301, 302, 303, 307, 308):
            to = shown_address(reply.headers.get("location", "somewhere else"))
            return ConfigurationError(f"the engine at {self.url} sends its callers to {to}: give that address", field="engine")
        words = words_of(reply.body.decode(errors="replace"), self._secrets)
        return self.of_status(reply.status, words, reply.headers, reply.url)

    def of_body(self, body: Mapping[str, Any]) -> ReasrmError:
        """The error that an `error` object under status 200 means, plain or inside a stream."""
        error = body.get("error")
        code = cast("Mapping[str, Any]", error).get("code") if isinstance(error, Mapping) else None
        status = int(str(code)) if re.fullmatch("[45][0-9][0-9]", str(code)) else 500
        return self.of_status(status, words_of(body, self._secrets), {}, self.url)

    def of_status(self, status: int, words: str, headers: Mapping[str, str], where: str) -> ReasrmError:
        """The error that `status` with `words` means; the words are logged."""
        self._log(status, words)
        error = self._meaning(status, words, headers, shown_address(where))
        if isinstance(error, EngineError):
            error.words = words
        return error

    def _meaning(self, status: int, words: str, headers: Mapping[str, str], where: str) -> ReasrmError:
        message = f": {words}" if words and self._show else ""
        if status in (429, 503):
            return EngineBusy(f"the engine at {self.url} is busy ({status}){message}", retry_after_s=retry_after_s(headers))
        if status in (401, 402, 403) or (status == 400 and _WRONG_KEY.search(words)):
            return ConfigurationError(f"the engine at {self.url} refuses the key ({status}){message}", field="api_key")
        if status in (400, 404) and _NO_MODEL.search(words):
            return ConfigurationError(f"the engine at {self.url} does not serve that model ({status}){message}", field="model")
        if status in (404, 405):
            why = f"{where} is not there ({status}): is that the address of an OpenAI-compatible server?"
            return ConfigurationError(why, field="engine")
        if status in (400, 413, 422):
            return _too_long(words) or EngineRefused(f"the engine at {self.url} refused the request ({status}){message}")
        if status in (408, 504):
            return EngineTimeout(f"the engine at {self.url} says that it took too long ({status}){message}")
        return EngineError(f"the engine at {self.url} failed the request ({status}){message}")

    def of_connection(self, error: httpx.HTTPError, timeout_s: float | None) -> ReasrmError:
        """The error that a failed connection means."""
        if (mistake := misconfigured(error, self.url)) is not None:
            return mistake
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return EngineUnreachable(f"no engine answers at {self.url}: is the server up, and the address right?")
        if isinstance(error, httpx.TimeoutException):
            within = "" if timeout_s is None else f" within {timeout_s:g} s"
            return EngineTimeout(f"the engine at {self.url} gave no answer{within}")
        return EngineUnreachable(f"the connection to the engine at {self.url} broke: {type(error).__name__}")

    def _log(self, status: int, words: str) -> None:
        line, now = f"{self.url} answered {status}: {words or 'nothing more'}", time.monotonic()
        if now - self._logged.get(line, -AGAIN_S) >= AGAIN_S:
            if len(self._logged) > 100:
                self._logged.clear()
            self._logged[line] = now
            log.warning("%s", line)


def _too_long(words: str) -> TooLong | None:
    """The error for a prompt that was refused for its length; None for any other refusal.

    "The input (N tokens) is longer than the ... context length (N tokens)", or "... of N tokens. You requested N tokens".
    """
    if not any(sign in words for sign in _TOO_LONG):
        return None
    counts = [int(number) for number in re.findall(r"(\d+) tokens", words)]
    stated = re.search(r"(?:context|allowed) (?:length|window|size)\D{0,20}(\d+)", words)
    count, limit = max(counts, default=0), int(stated.group(1)) if stated else 0
    message = f"the prompt and its reply take {count} tokens; the judge's context holds {limit}"
    return TooLong(
        message if limit else "the prompt does not fit the judge's context", field="max_tokens", count=count, limit=limit
    )
