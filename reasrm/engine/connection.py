"""The HTTP connection to one engine: requests with retries, streams, and the arguments that the server refuses."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import httpx
import stamina

from reasrm.address import http_address
from reasrm.engine.refusal import Refusals
from reasrm.engine.reply import HttpReply, object_of
from reasrm.engine.request import Dialect
from reasrm.errors import EngineBusy, EngineNonsense, EngineRefused, EngineUnreachable, ReasrmError
from reasrm.transport import tls

#: A connection that was idle for so many seconds is not used: uvicorn (SGLang too) closes it after 5 s, perhaps just then.
IDLE_S = 3.0
CONNECT_S = 5.0
PAGE_S = 10.0
QUICK_S = 60.0  # an engine lists its models within this time, however long its replies take


class EngineConnection:
    """The connections to the engine at `url`. The arguments are those of `HttpEngine`."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None,
        timeout_s: float | None,
        retries: int,
        connections: int,
        ca_file: str | Path | None,
        show_words: bool,
        http: httpx.AsyncClient | None,
    ) -> None:
        self.url = http_address(url, "the engine's", "engine").removesuffix("/v1")
        self.timeout_s = timeout_s
        self._retries = retries
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

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _page(self, path: str) -> dict[str, Any] | None:
        """The object on one of the server's pages; None where there is no such page. Raises `EngineError`."""
        try:
            answer = await self._http.get(self.url + path, timeout=PAGE_S)
        except httpx.HTTPError as failure:
            raise self._refusals.of_connection(failure, PAGE_S) from failure
        if answer.status_code != 200:
            return None
        try:
            return object_of(answer.content, self._refusals.url)
        except EngineNonsense:  # some servers answer an HTML page with status 200 for an unknown path
            return None

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

    def _learns_from(self, error: ReasrmError, payload: Mapping[str, Any] | None) -> bool:
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

    async def _events(self, path: str, payload: dict[str, Any]) -> AsyncGenerator[str]:
        """The data of the server-sent events with which the engine answers `payload`."""
        from httpx_sse import EventSource, SSEError  # of the extra "serve": only a gateway streams

        try:
            fitted = self._dialect.fitted(payload)
            while True:
                async with self._http.stream("POST", self.url + path, json=fitted) as response:
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


def _pause(error: Exception) -> bool | float:
    """The retry hook of `stamina`: whether to retry, or after how many seconds if the engine says so."""
    if isinstance(error, EngineBusy):
        return True if error.retry_after_s is None else error.retry_after_s
    return isinstance(error, EngineUnreachable)


def _reply_of(response: httpx.Response) -> HttpReply:
    return HttpReply(response.status_code, response.headers, response.content, str(response.url))
