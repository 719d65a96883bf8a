"""The oracles' replies so far, in an append-only file that is durable reply by reply, and their cost."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import Field, ValidationError

from reasrm.errors import Refused
from reasrm.parsing import mended
from reasrm.types import Ask, Completion, Frozen
from reasrm_training.config.endpoints import Endpoint, Oracle
from reasrm_training.oracle.examiner import OracleReply, OracleRequest, Pass


class ReplyRecord(Frozen):
    """One line of the file: a reply to the request `key`. Tokens are the server's count, or an estimate where it gives none."""

    key: str
    text: str
    truncated: bool = False
    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)

    @property
    def step(self) -> Pass:
        """The pass of its request."""
        return "second" if self.key.startswith("second:") else "first"


class Spend(Frozen):
    """Requests that were answered, their tokens, and their cost in US dollars by the recipe's prices."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens of prompts and completions together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, more: Spend) -> Spend:
        return Spend(
            requests=self.requests + more.requests,
            prompt_tokens=self.prompt_tokens + more.prompt_tokens,
            completion_tokens=self.completion_tokens + more.completion_tokens,
            usd=self.usd + more.usd,
        )

    def __sub__(self, less: Spend) -> Spend:
        return Spend(
            requests=self.requests - less.requests,
            prompt_tokens=self.prompt_tokens - less.prompt_tokens,
            completion_tokens=self.completion_tokens - less.completion_tokens,
            usd=self.usd - less.usd,
        )


def price(endpoint: Endpoint, prompt_tokens: int, completion_tokens: int) -> Spend:
    """The cost of one request."""
    micros = prompt_tokens * endpoint.usd_per_million_input + completion_tokens * endpoint.usd_per_million_output
    return Spend(requests=1, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, usd=micros / 1e6)


def tokens_in(*texts: str) -> int:
    """An estimate of the tokens in `texts`, rather too high than too low: a token rarely has fewer than three bytes."""
    return sum(len(text.encode()) for text in texts) // 3


class OracleJournal:
    """The replies in the file at `path`. `belongs_to` names the data and prompts that they answer.

    Raises Refused where the file belongs to others, or is not a journal.
    """

    def __init__(self, path: Path, belongs_to: str, oracle: Oracle) -> None:
        self._path = path
        self._oracle = oracle
        self.belongs_to = belongs_to
        self.replies: dict[str, OracleReply] = {}
        self.answered: set[Pass] = set()  # the passes of the replies
        self.spend = Spend()
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = self._load(belongs_to) if path.exists() else 0
        self._file = path.open("ab")
        self._file.truncate(whole)  # the request of a line that a crash cut short is sent again
        if not whole:
            self._append({"belongs_to": belongs_to})

    def add(self, request: OracleRequest, ask: Ask, completion: Completion) -> None:
        """Keep the reply to `request`, which was sent as `ask`. A second reply is ignored."""
        if request.key in self.replies:
            return
        text, usage = mended(completion.text), completion.usage
        entry = ReplyRecord(
            key=request.key,
            text=text,
            truncated=completion.finish_reason == "length",
            prompt_tokens=usage.prompt_tokens or tokens_in(*(message.content for message in ask.messages)),
            completion_tokens=usage.completion_tokens or tokens_in(text),
        )
        self._append(entry.model_dump(exclude_defaults=True))
        self._count(entry)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> OracleJournal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append(self, line: dict[str, object]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _count(self, entry: ReplyRecord) -> None:
        self.replies[entry.key] = OracleReply(text=entry.text, truncated=entry.truncated)
        self.answered.add(entry.step)
        endpoint = self._oracle.second if entry.step == "second" and self._oracle.second else self._oracle.first
        self.spend += price(endpoint, entry.prompt_tokens, entry.completion_tokens)

    def _load(self, belongs_to: str) -> int:
        """Read the file and return the number of its bytes that are whole lines."""
        whole = 0
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    if number == 1:
                        self._check(json.loads(line), belongs_to)
                    else:
                        self._count(ReplyRecord.model_validate_json(line))
                except (ValueError, ValidationError):
                    raise Refused(f"{self._path}, line {number}: not a journal of oracle replies; move it away") from None
                whole += len(line)
        return whole

    def _check(self, header: dict[str, str], belongs_to: str) -> None:
        if header.get("belongs_to") != belongs_to:
            raise Refused(
                f"{self._path} holds replies to other data, prompts or oracles than this recipe's; "
                "--restart starts over and loses these replies; or choose another output"
            )
