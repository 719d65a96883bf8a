"""What the two HTTP clients share: trusted certificates, broken connections, Retry-After, and the server's messages."""

from __future__ import annotations

import json
import os
import re
import ssl
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import httpx

from reasrm.address import shown_address
from reasrm.errors import ConfigurationError

#: The longest Retry-After that is obeyed: a client must not wait for hours.
LONGEST_RETRY_AFTER_S = 30.0
WORDS = 300  # characters of a server's own message that are worth showing


def tls(url: str, ca_file: str | Path | None) -> ssl.SSLContext | bool:
    """The value of httpx's `verify` for `url`. It trusts the certificates of `ca_file`, else of SSL_CERT_FILE and
    SSL_CERT_DIR, else the machine's and certifi's.

    Raises `ConfigurationError` for a file that holds no certificates. Proxies of the environment are not used, because a judge
    mostly runs inside the cluster.
    """
    if not url.startswith("https://"):
        return False  # cached, because reading the certificates takes milliseconds
    chosen = ca_file or os.environ.get("SSL_CERT_FILE") or None
    folder = None if ca_file else os.environ.get("SSL_CERT_DIR") or None
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    try:
        if chosen or folder:
            context = ssl.create_default_context(cafile=None if chosen is None else str(chosen), capath=folder)
        else:
            import certifi

            context.load_verify_locations(certifi.where())
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"{chosen or folder} holds no certificates to trust: {error}", field="ca_file") from None
    return context


def misconfigured(error: BaseException, url: str) -> ConfigurationError | None:
    """The `ConfigurationError` for a connection to `url` that failed because of the set-up; None for a failure that may pass."""
    where = shown_address(url)
    for cause in _causes(error):
        if not hasattr(cause, "reason"):  # aiohttp's errors have the class of ssl's errors without their attributes
            continue
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ConfigurationError(
                f"the certificate of {where} is not trusted ({cause.verify_message or cause.reason}): name the file of its "
                "authority (--ca-file, in Python ca_file=...) or set SSL_CERT_FILE",
                field="ca_file",
            )
        if isinstance(cause, ssl.SSLError):
            reason = str(cause.reason or cause)
            if any(sign in reason for sign in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH")):
                return ConfigurationError(f"{where} does not speak HTTPS: write http:// instead of https://", field="url")
            return ConfigurationError(f"no TLS connection to {where} ({reason})", field="url")
    if isinstance(error, httpx.RemoteProtocolError) and "\\x15\\x03" in str(error):  # a TLS alert where a status line belongs
        return ConfigurationError(f"{where} speaks HTTPS: write https:// instead of http://", field="url")
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The seconds of Retry-After, at most `LONGEST_RETRY_AFTER_S`; None where it gives none (a proxy may name a date)."""
    after = headers.get("retry-after", "").strip()
    return min(float(after), LONGEST_RETRY_AFTER_S) if re.fullmatch(r"\d{1,9}(\.\d*)?", after) else None


def words_of(body: str | Mapping[str, Any], secrets: tuple[str, ...] = ()) -> str:
    """A server's error message: the message in its JSON, else its text, as one short line without control characters or `secrets`.

    The inputs that a validator repeats (FastAPI's `input`) are left out: they are the caller's texts.
    """
    value: Any = body
    if isinstance(body, str):
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            value = body
    return shortened(_message_in(value, 0), secrets)


def shortened(text: str, secrets: tuple[str, ...] = ()) -> str:
    """`text` as one short line that may be logged."""
    for secret in secrets:
        text = text.replace(secret, "...") if secret else text
    line = " ".join(" ".join(text.split()).split())
    line = "".join(letter for letter in shown_address(line) if unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co"))
    return line if len(line) <= WORDS else line[: WORDS - 3] + "..."


def _message_in(value: Any, depth: int) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and depth < 4:
        fields = cast("Mapping[str, Any]", value)
        for name in ("error", "message", "detail", "msg"):
            if fields.get(name):
                at = fields.get("loc") or fields.get("param")
                place = ".".join(str(part) for part in cast("list[Any]", at)) if isinstance(at, list) else str(at or "")
                text = _message_in(fields[name], depth + 1)
                return f"{place}: {text}" if place and place not in text else text
    if isinstance(value, list) and depth < 4:
        return "; ".join(_message_in(part, depth + 1) for part in cast("list[Any]", value)[:5])
    return ""
