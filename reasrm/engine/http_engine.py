"""`HttpEngine`: sends `Ask`s to one server.

Features that only some servers have (weight versions, aborting by id, the tokens of a text) are used where the server has them:
`reasrm.engine.abilities`.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from reasrm.engine.abilities import EngineInfo
from reasrm.engine.connection import EngineConnection
from reasrm.engine.cutting import StreamCutter
from reasrm.engine.probe import EngineProbe
from reasrm.engine.recognition import chosen_model, mark_of, merged, recognised, same_engine
from reasrm.engine.refusal import log
from reasrm.engine.reply import TAIL_TOKENS, StreamedReply, completion_of
from reasrm.engine.request import Dialect, in_words, overlaid, payload_of
from reasrm.errors import CannotContinue, EngineError, EngineRefused, EngineUnreachable, TooLong
from reasrm.parsing import read
from reasrm.types import Ask, Completion, Token

RETRIES = 3
PROBE_S = 20.0  # a small model on a slow processor reads the probe's prompt in a few seconds
#: Addresses that name the version of the API, as Gemini's: no /v1 follows them.
_VERSIONED = re.compile(r"/v\d\w*(/openai)?$")
_ABORTS: set[asyncio.Future[None]] = set()  # asyncio keeps no reference to a running task


class HttpEngine(EngineConnection):
    """A `Completer` over one server. Use as an async context manager, or call `aclose`.

    `timeout_s` bounds one request in seconds (None: nothing does); `retries` are made with jitter on refused connections, 429 and
    503 within that time. `logprobs` off serves engines that cannot give any: probabilities then come from votes. `body` is laid
    over every request (see `overlaid`). A given `info` replaces the request for the served models, which not every server
    answers. `ca_file` holds the certificates to trust (default: SSL_CERT_FILE, SSL_CERT_DIR, the machine's). `show_words` puts the
    engine's own words into error messages; the log (`reasrm.engine`) always has them.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        timeout_s: float | None = 300.0,
        retries: int = RETRIES,
        logprobs: bool = True,
        connections: int = 512,
        body: Mapping[str, Any] | None = None,
        info: EngineInfo | None = None,
        ca_file: str | Path | None = None,
        show_words: bool = True,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        super().__init__(
            url,
            api_key=api_key,
            timeout_s=timeout_s,
            retries=retries,
            connections=connections,
            ca_file=ca_file,
            show_words=show_words,
            http=http,
        )
        self._model = model
        self._logprobs = logprobs
        self._v1 = "" if _VERSIONED.search(self.url) else "/v1"
        self._chat = f"{self._v1}/chat/completions"
        self._body = body or {}
        self._info = info
        self._seen: tuple[str, ...] | None = None
        self._entry: dict[str, Any] = {}
        self._measured: dict[str, Any] = {}

    async def __aenter__(self) -> HttpEngine:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def info(self, *, refresh: bool = False) -> EngineInfo:
        """The server's model and what it can do as far as it is known; cached unless `refresh`.

        Raises `EngineError`, or `ConfigurationError` for a wrong model.
        """
        if self._info is None or refresh:
            try:
                self._info = await self._look()
            except EngineError:
                self._seen = None  # another server may come back at this address
                raise
        return self._info

    async def _look(self) -> EngineInfo:
        listed = await self._request("GET", f"{self._v1}/models", None)
        entry = chosen_model(listed, self._model, self._refusals.url)
        seen = mark_of(entry)
        if self._info is not None and seen == self._seen and not self._info.sglang:  # its weights have no version to look for
            return self._info
        info = await recognised(self._page, entry)
        if self._info is None or not same_engine(info, self._info):
            self._dialect, self._measured = Dialect(self._refusals.url), {}
        elif seen != self._seen:
            for name in ("probed", "logprobs"):
                self._measured.pop(name, None)
        self._seen, self._entry = seen, entry
        return merged(info, self._measured)

    async def probe(self, within_s: float | None = PROBE_S) -> EngineInfo:
        """Measure what the server can do by three small requests, once (`reasrm.engine.probe`).

        What is not known after `within_s` seconds, or because the server is busy, stays as it was. Raises like `info`.
        """
        info = await self.info()
        if info.abilities.probed:
            return info
        probe = EngineProbe(info, self._page, self._send, self._dialect)
        with contextlib.suppress(EngineError, TimeoutError):
            try:
                async with asyncio.timeout(within_s):
                    await probe.run()
                    if info.abilities.kind in ("ollama", "lmstudio"):  # the requests made it load the model, with some context
                        self._info = await recognised(self._page, self._entry)
            finally:
                if self._info is not None and same_engine(info, self._info):
                    self._measured |= probe.found
                    self._info = merged(self._info, self._measured)
        return self._info or info

    async def _send(self, payload: dict[str, Any]) -> dict[str, Any]:
        return await self._request("POST", self._chat, overlaid(payload, self._body))

    async def complete(self, ask: Ask) -> Completion:
        """One completion of `ask`. Raises `EngineError`, `TooLong` for a prompt that does not fit, or `ConfigurationError`."""
        info = await self.info()
        rid = uuid.uuid4().hex
        payload = self._payload(ask, info, rid, logprobs=self._logprobs)
        started = time.perf_counter()
        try:
            body = await self._request("POST", self._chat, payload)
        except CannotContinue:
            self._cannot_continue(ask)
            return await self.complete(ask)
        except asyncio.CancelledError:
            self._abort_later(info, rid)
            raise
        except EngineUnreachable:
            self._seen = None
            raise
        completion = self._completion(body, info, ask, time.perf_counter() - started)
        if completion.tokens is None and completion.text and "logprobs" in payload:
            self._lacks_logprobs()
        return completion

    async def stream(self, ask: Ask) -> AsyncIterator[str | Completion]:
        """Yield the reply's text in pieces as it is written, then the whole `Completion`. Closing the iterator stops the engine.

        The stream ends early at a stop string that the engine ignores ("stop"), and where the reply repeats itself ("length").
        Then the engine has not said what the reply cost: the prompt counts as 0 tokens, and each piece as one.
        """
        if ask.max_tokens == 1:  # one token comes at once, with its alternatives
            completion = await self.complete(ask)
            yield completion.text
            yield completion
            return
        while True:
            try:
                async with contextlib.aclosing(self._streamed(ask, await self.info())) as parts:
                    async for part in parts:
                        yield part
                return
            except CannotContinue:  # it comes before the first word
                self._cannot_continue(ask)

    async def _streamed(self, ask: Ask, info: EngineInfo) -> AsyncGenerator[str | Completion]:
        # SGLang's stream repeats one token's alternatives for every token of a chunk, so a second request gets the letter's.
        rid = uuid.uuid4().hex
        payload = self._payload(ask, info, rid, logprobs=self._logprobs and not info.sglang)
        payload |= {"stream": True, "stream_options": {"include_usage": True}}
        started = time.perf_counter()
        reply, cutter = StreamedReply(_echo(ask, info)), StreamCutter(ask.stop)
        async with contextlib.aclosing(self._events(self._chat, payload)) as events:
            async for data in events:
                if piece := cutter.add(reply.add(data)):
                    yield piece
                if reply.error is not None:
                    raise self._refusals.of_body(reply.error)
                if cutter.ended is not None:
                    reply.finish(cutter.ended)
                    self._abort_later(info, rid)
                    break
        if cutter.ended is None and (rest := cutter.add(reply.unsaid) + cutter.rest):
            yield rest
        completion = self._completion(reply.body(self._refusals.url), info, ask, time.perf_counter() - started)
        yield await self._with_verdict_tokens(ask, completion) if self._logprobs else completion

    def _payload(self, ask: Ask, info: EngineInfo, rid: str, *, logprobs: bool) -> dict[str, Any]:
        if ask.prefill and info.abilities.continues is False:
            if ask.optional:
                raise self._dialect.cannot_continue("it starts a new one")
            ask = in_words(ask)
        return overlaid(payload_of(ask, info, rid, logprobs=logprobs), self._body)

    def _cannot_continue(self, ask: Ask) -> None:
        """From now on tell in words how a reply has begun. Raises `CannotContinue` for an optional ask, which needs more."""
        if ask.optional:
            raise self._dialect.cannot_continue("it refuses to")
        self._learn("continues", known=False)

    def _learn(self, ability: str, *, known: bool) -> None:
        self._measured[ability] = known
        if self._info is not None:
            self._info = merged(self._info, self._measured)

    def _lacks_logprobs(self) -> None:
        """From now on ask for none: the engine gave none, or impossible ones, for a reply that had text."""
        if self._info is not None and self._info.abilities.logprobs is not False:
            log.warning("%s gives no log-probabilities: probabilities come from votes from now on", self._refusals.url)
            self._learn("logprobs", known=False)

    async def _with_verdict_tokens(self, ask: Ask, completion: Completion) -> Completion:
        """`completion` with the alternatives of its verdict's letter, and with what they cost, where the stream had none.

        They come from one more request for one token after the reply up to its letter (all of it in the prefix cache). A stream
        names no weights, so `completion` may name earlier ones. If the request shows that the weights have changed, the judgment
        names both versions, and belongs to neither.
        """
        if completion.tokens is not None or (await self.info()).abilities.logprobs is False:
            return completion
        reply = ask.prefill + completion.text
        _, letter = read(reply, truncated=completion.finish_reason == "length")
        if letter is None:
            return completion
        one_token = {"max_tokens": 1, "temperature": 0.0, "stop": (), "pattern": None, "seed": None, "optional": True}
        probe = ask.model_copy(update={"prefill": reply[:letter], **one_token})
        try:
            probed = await self.complete(probe)
        except (EngineRefused, TooLong):  # it cannot continue a reply, or has no room for one more token: the vote has to do
            return completion
        changes: dict[str, Any] = {"usage": completion.usage + probed.usage}
        if probed.weight_version != completion.weight_version:
            changes["weight_version"] = f"{completion.weight_version}+{probed.weight_version}"
        elif probed.tokens:
            before, after = reply[max(0, letter - TAIL_TOKENS) : letter], reply[letter + 1 :]
            at_letter = Token(text=reply[letter], top=probed.tokens[-1].top)
            changes["tokens"] = (Token(text=before, top={}), at_letter, Token(text=after, top={}))
        return completion.model_copy(update=changes)

    async def load_weights(self, path: str, weight_version: str) -> EngineInfo:
        """Tell SGLang to load the weights at `path` (as its own machine sees it) and to call them `weight_version`."""
        payload = {"model_path": path, "weight_version": weight_version, "abort_all_requests": False}
        answer = await self._request("POST", "/update_weights_from_disk", payload)
        if not answer.get("success"):
            raise EngineError(f"{self._refusals.url} did not load {path}: {answer.get('message', 'no reason given')}")
        return await self.info(refresh=True)

    def _completion(self, body: dict[str, Any], info: EngineInfo, ask: Ask, seconds: float) -> Completion:
        """The completion in `body`, plain or put together from a stream."""
        if body.get("error") and not body.get("choices"):
            raise self._refusals.of_body(body)
        return completion_of(body, info, ask, seconds, echo=_echo(ask, info))

    def _abort_later(self, info: EngineInfo, rid: str) -> None:
        """SGLang notices a closed connection only after a while: naming the request stops it at once."""
        if info.abilities.aborts:
            task = asyncio.ensure_future(self._abort(rid))
            _ABORTS.add(task)
            task.add_done_callback(_ABORTS.discard)

    async def _abort(self, rid: str) -> None:
        with contextlib.suppress(httpx.HTTPError):  # the engine is gone, and the request with it
            await self._http.post(f"{self.url}/abort_request", json={"rid": rid}, timeout=5.0)


def _echo(ask: Ask, info: EngineInfo) -> str:
    """The beginning that may be repeated: by the engine, by an unmeasured llama.cpp, or by a judge that was told of it in words."""
    able = info.abilities
    may = able.echoes or able.continues is False or (able.echoes is None and able.kind == "llama.cpp")
    return ask.prefill if may else ""
