"""Measures what an engine can do by three small requests, and reads the pages of servers that describe themselves.

The answers are believed, not the claims: log-probabilities must be there and add up, a stop string must stop, and a begun reply
must be continued in the prompt's tokens or in its words.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from reasrm.engine.abilities import EngineInfo
from reasrm.engine.recognition import Page, count
from reasrm.engine.reply import completion_of, plausible, scored_tokens
from reasrm.engine.request import CONTINUING, FEW, Dialect, payload_of
from reasrm.errors import CannotContinue, EngineNonsense, EngineRefused, InputError
from reasrm.types import Ask, Completion, Message

#: Sends the body of a chat completion; returns that of the answer. Raises `EngineError` or `InputError`.
Send = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
ALTERNATIVES = 20  # the most that OpenAI's API allows
COUNT = Ask(
    messages=(Message(role="user", content="Count from one to twenty in words: one two three ..."),),
    alternatives=ALTERNATIVES,
    max_tokens=4,
    seed=1,
)
#: A begun reply of seven words, a token each, and the word that follows.
BEGUN, NEXT = "one two three four five six seven", "eight"
WORDS, TURN = 7, 12  # a new turn costs five tokens more in most chat templates


class EngineProbe:
    """Measures one engine. `found` holds what is known so far, by the names of `Abilities`' fields."""

    def __init__(self, info: EngineInfo, page: Page, send: Send, dialect: Dialect) -> None:
        self.found: dict[str, Any] = {}
        self._info, self._page, self._send, self._dialect = info, page, send, dialect

    async def run(self) -> None:
        """Find out everything. Raises `EngineError` where the engine is away or busy: what was found until then holds."""
        if self._info.sglang:
            await self._read_sglang()
        else:
            first = await self._measure_reply()
            if first is not None:
                await self._measure_stop(first)
                await self._measure_continuation(first)
        self.found["probed"] = True

    async def _read_sglang(self) -> None:
        """SGLang describes itself, and what it says holds: the tests run a real one."""
        about = await self._page("/server_info") or await self._page("/get_server_info")
        if about is None:
            return
        backend = about.get("grammar_backend")
        self.found |= {
            "version": str(about.get("version") or ""),
            "slots": count(about.get("max_running_requests")) or None,
            "adapters": bool(about.get("enable_lora")),
            "prefixes": None if about.get("disable_radix_cache") else "radix tree",
            "pattern": None if backend == "none" else "regex",
        }

    async def _measure_reply(self) -> tuple[Completion, dict[str, Any]] | None:
        """The first reply and its body; None where the engine refuses even this."""
        answer = await self._ask(COUNT)
        if answer is None:
            return None
        completion, body = answer
        choice = body["choices"][0]
        self.found["seeds"] = self._dialect.takes("seed")
        if any(choice["message"].get(name) for name in ("reasoning_content", "reasoning")):
            self.found["thoughts"] = True
        if completion.text:
            entries = scored_tokens(choice)
            good = all(map(plausible, entries)) and any(entry["logprob"] for entry in entries)
            self.found["logprobs"] = good
            self.found["alternatives"] = max(len(entry.get("top_logprobs") or ()) for entry in entries) or None if good else None
        return answer

    async def _measure_stop(self, first: tuple[Completion, dict[str, Any]]) -> None:
        """Ask again with a stop string that the greedy reply contains."""
        words = re.findall(r"\w+", str(first[1]["choices"][0]["message"].get("content") or ""))
        if not words:
            return
        answer = await self._ask(COUNT.model_copy(update={"stop": (words[-1],)}))
        if answer is not None:
            text = str(answer[1]["choices"][0]["message"].get("content") or "")
            self.found["stops"] = self._dialect.takes("stop") and words[-1] not in text

    async def _measure_continuation(self, first: tuple[Completion, dict[str, Any]]) -> None:
        ask = COUNT.model_copy(update={"prefill": BEGUN, "alternatives": FEW})
        unasked = False
        try:
            answer = await self._ask(ask)
        except CannotContinue:  # it refuses the arguments that ask for it, and may do it without them
            unasked = True
            answer = await self._ask(ask, without=CONTINUING)
        if answer is None:
            self.found["continues"] = False
            return
        completion, body = answer
        text = str(body["choices"][0]["message"].get("content") or "")
        self.found["echoes"] = text.startswith(BEGUN)
        goes_on = text.removeprefix(BEGUN).strip().lower().startswith(NEXT)
        cost = completion.usage.prompt_tokens - first[0].usage.prompt_tokens
        if self.found["echoes"] or self._continued(cost, goes_on=goes_on):
            self.found["continues"] = True
            self._dialect.continues_unasked = unasked
        elif unasked or not self._info.abilities.continues:
            self.found["continues"] = False

    def _continued(self, cost: int, *, goes_on: bool) -> bool:
        """Whether the reply was continued, by the tokens that its beginning cost, and by its words where those do not tell."""
        if 0 < cost <= WORDS + 1:
            return True
        return goes_on and cost < TURN

    async def _ask(self, ask: Ask, without: Sequence[str] = ()) -> tuple[Completion, dict[str, Any]] | None:
        """The completion of `ask` and its body; None where the engine refuses the request or answers nonsense."""
        payload = payload_of(ask, self._info, "")
        try:
            body = await self._send({name: value for name, value in payload.items() if name not in without})
            return completion_of(body, self._info, ask), body
        except CannotContinue:
            raise
        except (EngineRefused, EngineNonsense, InputError):
            return None
