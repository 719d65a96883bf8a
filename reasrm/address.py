"""Addresses of gateways, engines and Redis: checked before anybody connects, and shown without their passwords."""

from __future__ import annotations

import re

import httpx

from reasrm.errors import ConfigurationError

#: The user and password of an address: everything up to the last @ before the path.
_USERINFO = re.compile(r"(?<=://)[^/?#\s]*@")
#: Query parameters that may hold a secret.
_SECRET = re.compile(r"(?i)([?&][^=&#\s]*(?:key|token|secret|password|signature|sig)[^=&#\s]*=)[^&#\s]+")


def http_address(url: str, owner: str, field: str) -> str:
    """`url` without a slash at its end. Raises `ConfigurationError`, which names `owner`, for an impossible address."""
    shown = shown_address(url)
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"{owner} address must start with http:// or https://, not {shown!r}", field=field)
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"{owner} address {shown!r} is invalid ({error}): write http://HOST:PORT", field=field) from None
    if not parsed.host or "%20" in parsed.host or not 0 < (parsed.port or 80) < 65536:
        raise ConfigurationError(f"{owner} address {shown!r} lacks a host or a valid port: write http://HOST:PORT", field=field)
    return url.rstrip("/")


def shown_address(text: str) -> str:
    """`text`, an address or a message that holds some, without the passwords and keys in them."""
    return _SECRET.sub(r"\1...", _USERINFO.sub("", text))
