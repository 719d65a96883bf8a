"""Addresses of gateways and engines, checked before anybody is asked."""

from __future__ import annotations

import httpx

from reasrm.errors import InputError


def http_address(url: str, whose: str, field: str) -> str:
    """`url` without a slash at its end. Raises `InputError`, which says `whose` address it is, where no server can have it."""
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{whose} address must start with http:// or https://, not {url!r}", field=field)
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InputError(f"{whose} address {url!r} is none ({error}): write http://HOST:PORT", field=field) from None
    if not parsed.host or "%20" in parsed.host or not 0 < (parsed.port or 80) < 65536:
        raise InputError(f"{whose} address {url!r} lacks a host, or its port is none: write http://HOST:PORT", field=field)
    return url.rstrip("/")
