"""The gateway's own connections to an engine.

Plain completions go through aiohttp: the client is the largest single cost of an uncached judgment here, and httpx takes more
processor time per request.
Streams, aborts and questions about the weights, of which there are few, go through the library's client.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import httpx
import orjson

from reasrm.engine import IDLE_S, HttpEngine, HttpReply
from reasrm.transport import tls

CONNECTIONS = 1024
CONNECT_S = 5.0
JSON = {"content-type": "application/json"}


class EngineClient(HttpEngine):
    """An `HttpEngine` with a pool of aiohttp connections. It tries once: `EnginePool` decides where a request goes next."""

    def __init__(
        self,
        url: str,
        *,
        model: str | None,
        api_key: str | None,
        timeout_s: float,
        ca_file: Path | None = None,
        show_words: bool = False,
    ) -> None:
        super().__init__(url, model=model, api_key=api_key, timeout_s=timeout_s, retries=0, ca_file=ca_file, show_words=show_words)
        self._tls = tls(self.url, ca_file)
        self._headers = JSON | ({"authorization": f"Bearer {api_key}"} if api_key else {})
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
        await super().aclose()

    async def _exchange(self, method: str, path: str, payload: dict[str, Any] | None) -> HttpReply:
        url, data = self.url + path, None if payload is None else orjson.dumps(payload)
        try:
            # Redirects are not followed: an engine's 307 would carry the prompts to wherever it points.
            async with self._connections().request(method, url, data=data, allow_redirects=False) as reply:
                return HttpReply(reply.status, reply.headers, await reply.read(), url)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._refusals.of_connection(_as_httpx(error), self.timeout_s) from error

    def _connections(self) -> aiohttp.ClientSession:
        if self._session is None:  # made inside the running loop
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=IDLE_S, ssl=self._tls or True),
                timeout=aiohttp.ClientTimeout(total=self.timeout_s, sock_connect=CONNECT_S),
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def _as_httpx(error: Exception) -> httpx.HTTPError:
    """The same failure in the terms in which the library reads failures."""
    # A connection that is dropped while it is made, as a firewall does, is an engine that cannot be reached: another one can.
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        translated: httpx.HTTPError = httpx.ConnectError(str(error))
    elif isinstance(error, TimeoutError):
        translated = httpx.ReadTimeout(str(error))
    elif isinstance(error, aiohttp.ClientResponseError):
        translated = httpx.RemoteProtocolError(str(error))
    else:
        translated = httpx.ReadError(str(error))
    translated.__cause__ = error
    return translated
