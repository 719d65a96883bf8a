"""`HttpEngine`: sends `Ask`s to one server.

Features that only SGLang has (weight versions, aborting by id, the tokens of a text) are used if the server is SGLang.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any, cast

import httpx
import stamina

from reasrm.address import http_address
from reasrm.engine.refusal import Refusals
from reasrm.engine.reply import TAIL_TOKENS, EngineInfo, HttpReply, StreamedReply, completion_of, object_of
from reasrm.engine.request import Dialect, overlaid, payload_of
from reasrm.errors import (
    ConfigurationError,
    EngineBusy,
    EngineError,
    EngineNonsense,
    EngineRefused,
    EngineUnreachable,
    ReasrmError,
    TooLong,
)
from reasrm.parsing import read
from reasrm.transport import tls
from reasrm.types import Ask, Completion, Token

#: A connection that was idle for so many seconds is not used: uvicorn (SGLang too) closes it after 5 s, perhaps just then.
IDLE_S = 3.0
CONNECT_S = 5.0
INFO_S = 10.0
QUICK_S = 60.0  # an engine lists its models within this time, however long its replies take
RETRIES = 3
#: Addresses that name the version of the API, as Gemini's: no /v1 follows them.
_VERSIONED = re.compile(r"/v\d\w*(/openai)?$")
_ABORTS: set[asyncio.Future[None]] = set()  # asyncio keeps no reference to a running task


class HttpEngine:
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
        self.url = http_address(url, "the engine's", "engine").removesuffix("/v1")
        self.timeout_s = timeout_s
        self._model = model
        self._retries = retries
        self._logprobs = logprobs
        self._v1 = "" if _VERSIONED.search(self.url) else "/v1"
        self._chat = f"{self._v1}/chat/completions"
        self._body = body or {}
        self._info = info
        self._refusals = Refusals(self.url, secrets=(api_key or "",), show=show_words)
        self._dialect = Dialect(self._refusals.url)
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = http or httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=IDLE_S),
            verify=tls(self.url, ca_file),
            trust_env=False,
        )

    async def __aenter__(self) -> HttpEngine:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def info(self, *, refresh: bool = False) -> EngineInfo:
        """The server's model; cached unless `refresh`. Raises `EngineError`, or `ConfigurationError` for a wrong model."""
        if self._info is None or refresh:
            self._info = await self._ask_info()
        return self._info

    async def _ask_info(self) -> EngineInfo:
        listed = await self._request("GET", f"{self._v1}/models", None)
        models = [cast(dict[str, Any], model) for model in listed.get("data") or () if isinstance(model, dict)]
        if not models:
            raise EngineNonsense(f"{self._refusals.url}{self._v1}/models lists no model")
        entry = next((model for model in models if model.get("id") == self._model), models[0])
        if self._model is not None and entry.get("id") != self._model:
            names = ", ".join(str(model.get("id")) for model in models)
            raise ConfigurationError(f"{self._refusals.url} does not serve {self._model!r}; it serves {names}", field="model")
        about = await self._about()
        return EngineInfo(
            model=str(entry.get("id")),
            weight_version=str(about.get("weight_version", "")),
            max_context=int(entry.get("max_model_len") or 0),
            sglang=bool(about),
        )

    async def _about(self) -> dict[str, Any]:
        """SGLang's server info; empty if the server is not SGLang."""
        for path in ("/model_info", "/get_model_info"):  # sglang-router only forwards the old name, to one of its workers
            try:
                answer = await self._http.get(self.url + path, timeout=INFO_S)
            except httpx.HTTPError as failure:
                raise self._refusals.of_connection(failure, INFO_S) from failure
            if answer.status_code == 200:
                with contextlib.suppress(EngineNonsense):  # some servers answer an HTML page with status 200 for an unknown path
                    return object_of(answer.content, self._refusals.url)
        return {}

    async def complete(self, ask: Ask) -> Completion:
        """One completion of `ask`. Raises `EngineError`, `TooLong` for a prompt that does not fit, or `ConfigurationError`."""
        info = await self.info()
        rid = uuid.uuid4().hex
        payload = overlaid(payload_of(ask, info, rid, logprobs=self._logprobs), self._body)
        started = time.perf_counter()
        try:
            body = await self._request("POST", self._chat, payload)
        except asyncio.CancelledError:
            self._abort_later(info, rid)
            raise
        return self._completion(body, info, ask, time.perf_counter() - started)

    async def stream(self, ask: Ask) -> AsyncIterator[str | Completion]:
        """Yield the reply's text in pieces as it is written, then the whole `Completion`. Closing the iterator stops the engine."""
        info = await self.info()
        # SGLang's stream repeats one token's alternatives for every token of a chunk, so a second request gets the letter's.
        payload = overlaid(payload_of(ask, info, uuid.uuid4().hex, logprobs=False), self._body)
        payload |= {"stream": True, "stream_options": {"include_usage": True}}
        started = time.perf_counter()
        reply = StreamedReply()
        async with contextlib.aclosing(self._events(payload)) as events:
            async for data in events:
                if piece := reply.add(data):
                    yield piece
                if reply.error is not None:
                    raise self._refusals.of_body(reply.error)
        if reply.unsaid:
            yield reply.unsaid
        completion = self._completion(reply.body(self._refusals.url), info, ask, time.perf_counter() - started)
        yield await self._with_verdict_tokens(ask, completion) if self._logprobs else completion

    async def _events(self, payload: dict[str, Any]) -> AsyncGenerator[str]:
        """The data of the server-sent events with which the engine answers `payload`."""
        from httpx_sse import EventSource, SSEError  # of the extra "serve": only a gateway streams

        try:
            fitted = self._dialect.fitted(payload)
            while True:
                async with self._http.stream("POST", self.url + self._chat, json=fitted) as response:
                    if response.status_code == 200:
                        kind = response.headers.setdefault("content-type", "text/event-stream")  # some send none
                        if "json" in kind:  # this server does not stream
                            yield (await response.aread()).decode(errors="replace")
                            return
                        async for event in EventSource(response).aiter_sse():
                            if event.data:
                                yield event.data
                        return
                    await response.aread()
                    error = self._refusals.of_reply(_reply_of(response))
                    if not self._learns_from(error, fitted):
                        raise error
                fitted = self._dialect.fitted(payload)
        except SSEError as error:
            raise EngineNonsense(f"the engine at {self._refusals.url} answered a stream with no events") from error
        except httpx.HTTPError as failure:
            raise self._refusals.of_connection(failure, self.timeout_s) from failure

    async def _with_verdict_tokens(self, ask: Ask, completion: Completion) -> Completion:
        """`completion` with the alternatives of its verdict's letter, and with what they cost.

        They come from one more request for one token after the reply up to its letter (all of it in the prefix cache). A stream
        names no weights, so `completion` may name earlier ones. If the request shows that the weights have changed, the judgment
        names both versions, and belongs to neither.
        """
        reply = ask.prefill + completion.text
        _, letter = read(reply, truncated=completion.finish_reason == "length")
        if letter is None:
            return completion
        probe = ask.model_copy(update={"prefill": reply[:letter], "max_tokens": 1, "temperature": 0.0, "stop": (), "seed": None})
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
        return completion_of(body, info, ask, seconds)

    async def _request(self, method: str, path: str, payload: dict[str, Any] | None) -> dict[str, Any]:
        """The object in the answer to a request, with retries while the engine is away or busy. Raises `EngineError`."""
        if not self._retries:
            return await self._once(method, path, payload)
        async for attempt in stamina.retry_context(
            on=_pause, attempts=self._retries + 1, timeout=self.timeout_s, wait_initial=0.25, wait_max=8.0, wait_jitter=0.25
        ):
            with attempt:
                return await self._once(method, path, payload)
        raise AssertionError("the last attempt returns or raises")

    async def _once(self, method: str, path: str, payload: dict[str, Any] | None) -> dict[str, Any]:
        """One request; again at once where the server refuses an argument that it can do without."""
        while True:
            fitted = None if payload is None else self._dialect.fitted(payload)
            reply = await self._exchange(method, path, fitted)
            if reply.status == 200:
                return object_of(reply.body, self._refusals.url)
            error = self._refusals.of_reply(reply)
            if not self._learns_from(error, fitted):
                raise error

    def _learns_from(self, error: ReasrmError, payload: dict[str, Any] | None) -> bool:
        """Whether to send the request again without a refused argument."""
        return payload is not None and isinstance(error, EngineRefused) and self._dialect.learn(error.words, payload)

    async def _exchange(self, method: str, path: str, payload: dict[str, Any] | None) -> HttpReply:
        """One HTTP request; a broken connection raises its error. A subclass may have connections of its own."""
        within = self.timeout_s if method == "POST" else min(self.timeout_s or QUICK_S, QUICK_S)
        timeout = httpx.Timeout(within, connect=CONNECT_S)
        try:
            return _reply_of(await self._http.request(method, self.url + path, json=payload, timeout=timeout))
        except httpx.HTTPError as failure:
            raise self._refusals.of_connection(failure, within) from failure

    def _abort_later(self, info: EngineInfo, rid: str) -> None:
        """SGLang notices a closed connection only after a while: naming the request stops it at once."""
        if info.sglang:
            task = asyncio.ensure_future(self._abort(rid))
            _ABORTS.add(task)
            task.add_done_callback(_ABORTS.discard)

    async def _abort(self, rid: str) -> None:
        with contextlib.suppress(httpx.HTTPError):  # the engine is gone, and the request with it
            await self._http.post(f"{self.url}/abort_request", json={"rid": rid}, timeout=5.0)


def _pause(error: Exception) -> bool | float:
    """The retry hook of `stamina`: whether to retry, or after how many seconds if the engine says so."""
    if isinstance(error, EngineBusy):
        return True if error.retry_after_s is None else error.retry_after_s
    return isinstance(error, EngineUnreachable)


def _reply_of(response: httpx.Response) -> HttpReply:
    return HttpReply(response.status_code, response.headers, response.content, str(response.url))
