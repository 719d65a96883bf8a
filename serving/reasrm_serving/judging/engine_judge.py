"""A judgment made now: the library's protocol of pairs over the pool of engines, with the prompt pack that the gateway serves."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

from reasrm.errors import EngineError, InputError
from reasrm.judging import judge_flow, run
from reasrm.judging.opinions import whole_reply
from reasrm.prompts import Pack, load_pack
from reasrm.prompts.choice import pack_for
from reasrm.types import Ask, Completion, Judgment, NoVerdict, Options, Order, Pair
from reasrm_serving.engines.domain import Domain
from reasrm_serving.engines.pool import EnginePool

log = logging.getLogger("reasrm.serving")
LARGE = 50_000  # characters; rendering the prompt of longer texts takes milliseconds
#: Gets a piece of a reply: the order of the pair, the reply's number (from 0), and the text.
Emit = Callable[[Order, int, str], None]


class ServedPrompts:
    """The prompt pack of a gateway: the operator's, or the one that fits the served model.

    `key` is the secret behind the pack's fences.
    """

    def __init__(self, given: Pack | None, key: bytes) -> None:
        self.given, self.key = given, key
        self._secret_id = hashlib.blake2b(key, digest_size=8).hexdigest()
        self._chosen: dict[str, Pack] = {}

    def of(self, model: str) -> Pack:
        """The pack for a model; what was chosen is logged once."""
        if self.given is not None:
            return self.given
        if model not in self._chosen:
            if len(self._chosen) > 100:
                self._chosen.clear()
            pack, why = pack_for(model)
            self._chosen[model] = load_pack(pack)
            log.info("%s is judged with the prompts %s: %s (--prompts chooses others)", model, pack, why)
        return self._chosen[model]

    async def choose(self, engines: EnginePool) -> None:
        """Choose the pack at the start, so that the log says which it is; with the first request if the engines are away."""
        with suppress(EngineError, InputError):
            self.of((await engines.now()).model)

    def identity(self, model: str) -> tuple[str, str]:
        """What identifies the prompts in a key: the pack's digest, and the fences' secret where it has any."""
        pack = self.of(model)
        return pack.digest, self._secret_id if pack.fenced else ""


@dataclass(frozen=True, slots=True)
class PoolJudge:
    """Judges by `engines` with `prompts`; `domain` has the limits of the embedded judge."""

    engines: EnginePool
    prompts: ServedPrompts
    domain: Domain | None = None
    _one_by_one: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def judge(self, pair: Pair, options: Options, emit: Emit | None = None) -> Judgment:
        """Judge `pair`; `emit` gets the replies while they are written. Raises `InputError` for what the engine cannot take."""
        if self.domain is not None and (reason := self.domain(pair)) is not None:
            return await self._outside(reason)
        if sum(len(message.content) for message in (*pair.question, *pair.a, *pair.b)) > LARGE:
            async with self._one_by_one:  # rendering all prompts of a large group at once would block the event loop
                await asyncio.sleep(0)
        completer = self.engines if emit is None else _StreamingCompleter(self.engines, emit)
        pack = self.prompts.of((await self.engines.now()).model)
        return await run(judge_flow(pair, options, pack, self.prompts.key), completer)

    async def _outside(self, reason: str) -> Judgment:
        info = await self.engines.now()
        return Judgment(
            outcome=NoVerdict(reason="outside_domain", detail=reason),
            model=info.model,
            weight_version=info.weight_version,
            prompt_digest=self.prompts.of(info.model).digest,
        )


class _StreamingCompleter:
    """The engines during one judgment. Replies go to `emit` while they are written."""

    def __init__(self, engines: EnginePool, emit: Emit) -> None:
        self._engines, self._emit = engines, emit
        self._replies = 0

    async def complete(self, ask: Ask) -> Completion:
        """One completion; raises as the pool does."""
        if ask.optional:  # the one token of a verdict: nothing to watch
            return await self._engines.complete(ask)
        number, self._replies = self._replies, self._replies + 1
        if ask.prefill:
            self._emit(ask.order, number, ask.prefill)
        last: Any = None
        async for last in self._engines.stream(ask):
            if isinstance(last, str):
                self._emit(ask.order, number, last)
        completion = cast(Completion, last)
        if rest := whole_reply(ask, completion).removeprefix(ask.prefill + completion.text):
            self._emit(ask.order, number, rest)
        return completion
