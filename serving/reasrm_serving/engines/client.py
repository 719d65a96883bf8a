"""The gateway's own connections to an engine: a general client is the largest part of what an uncached judgment costs here."""

from __future__ import annotations

from functools import cache
from typing import Any

import aiohttp
import httpx
import orjson

from reasrm.engine import IDLE_S, HttpEngine

#: What a response says it answers; a handful, and parsing an address is dear.
_request = cache(httpx.Request)
CONNECTIONS = 1024
CONNECT_S = 5.0
JSON = {"content-type": "application/json"}


class EngineClient(HttpEngine):
    """An `HttpEngine` whose plain requests go through aiohttp; streams and aborts, of which there are few, go the general way.

    It tries once: `EnginePool` decides where a request goes next.
    """

    def __init__(self, url: str, *, model: str | None, api_key: str | None, timeout_s: float) -> None:
        super().__init__(url, model=model, api_key=api_key, timeout_s=timeout_s, retries=0)
        self._headers = JSON | ({"authorization": f"Bearer {api_key}"} if api_key else {})
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
        await super().aclose()

    async def _send(self, method: str, path: str, payload: dict[str, Any] | None) -> httpx.Response:
        url, data = self.url + path, None if payload is None else orjson.dumps(payload)
        try:
            async with self._pool().request(method, url, data=data) as answer:
                content = await answer.read()
                headers = None if answer.status == 200 else answer.headers  # of refusals only: Retry-After
                return httpx.Response(answer.status, headers=headers, content=content, request=_request(method, url))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:  # the latter: connecting is dropped
            raise httpx.ConnectError(str(error)) from error
        except TimeoutError as error:
            raise httpx.ReadTimeout(str(error)) from error
        except aiohttp.ClientError as error:
            raise httpx.ReadError(str(error)) from error

    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None:  # made inside the running loop
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=IDLE_S),
                timeout=aiohttp.ClientTimeout(total=self.timeout_s, sock_connect=CONNECT_S),
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session
