"""What a gateway's answers and refusals mean. An error has one shape there: `{"error": {"type", "message", "field"}}`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import httpx

from reasrm.address import shown_address
from reasrm.errors import ConfigurationError, EngineRefused, GatewayError, GatewayUnreachable, InputError, ReasrmError, TooLong
from reasrm.transport import misconfigured, retry_after_s, words_of
from reasrm.types import Judgment, Ranking

T = TypeVar("T")


class TooMany(InputError):
    """More pairs than the gateway takes at once: at most ``limit``."""

    def __init__(self, message: str, *, limit: int) -> None:
        super().__init__(message, field="pairs")
        self.limit = limit


def error_of(response: httpx.Response) -> ReasrmError:
    """The error that a response with a status other than 200 means."""
    status, where = response.status_code, shown_address(str(response.url))
    if response.is_redirect:
        to = shown_address(response.headers.get("location", "somewhere else"))
        return ConfigurationError(f"{where} sends its callers to {to}: give that address", field="url")
    if status in (404, 405):
        return ConfigurationError(
            f"{where} is not there ({status}): give the gateway's address alone, as http://HOST:PORT", field="url"
        )
    error = _error_in(response)
    if not error:
        error = {"message": words_of(response.text) or f"{where} answered {status}"}
    return meaning(error, status, retry_after_s(response.headers))


def meaning(error: Mapping[str, Any], status: int | None = None, after_s: float | None = None) -> ReasrmError:
    """The error that an `error` object in a response or in a line of a batch means."""
    kind, message, field = error.get("type"), str(error.get("message") or "the gateway gave no reason"), error.get("field")
    if kind == "too_long":
        return TooLong(message, field=field, count=int(error.get("count") or 0), limit=int(error.get("limit") or 0))
    if kind == "refused_by_engine":
        return EngineRefused(message)
    if kind == "too_many" and error.get("limit"):
        return TooMany(message, limit=int(error["limit"]))
    if status in (401, 403):
        return ConfigurationError(f"{message} (--token or $REASRM_TOKEN; in Python token=...)", field="token")
    if kind == "configuration":
        return ConfigurationError(message, field=field)
    if kind == "invalid" or status in (400, 413, 422):
        return InputError(message, field=field)
    reason = "deadline" if kind == "deadline" or status == 504 else "engine_failed"
    return GatewayError(message, status=status, reason=reason, retry_after_s=after_s)


def _error_in(response: httpx.Response) -> dict[str, Any]:
    try:
        error = response.json()["error"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}
    return cast("dict[str, Any]", error) if isinstance(error, dict) else {}


def connection_error(error: httpx.HTTPError, url: str) -> ReasrmError:
    """The error that a failed connection means."""
    if (mistake := misconfigured(error, url)) is not None:
        return mistake
    where = shown_address(url)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return GatewayUnreachable(f"no gateway answers at {where}: start one with `reasrm serve`, or check the address")
    if isinstance(error, httpx.TimeoutException):
        return GatewayError(f"the gateway at {where} gave no answer in time", reason="deadline")
    return GatewayUnreachable(f"the connection to the gateway at {where} broke: {type(error).__name__}")


def reading(response: httpx.Response, read: Callable[[], T]) -> T:
    """The result of `read`. Raises `ConfigurationError` if the answer is not a gateway's."""
    try:
        return read()
    except (ValueError, TypeError, LookupError, AttributeError) as error:  # pydantic's error is a ValueError
        where = shown_address(str(response.url))
        why = f"{where} answered, but not as a reasrm gateway of this version does: is that its address?"
        raise ConfigurationError(why, field="url") from error


def judgment_in(body: Mapping[str, Any]) -> Judgment:
    """The judgment in an answer's JSON."""
    return Judgment.model_validate(_known(Judgment, body))


def ranking_in(body: Mapping[str, Any]) -> Ranking:
    """The ranking in an answer's JSON."""
    return Ranking.model_validate(_known(Ranking, body))


def _known(model: type[Judgment] | type[Ranking], body: Mapping[str, Any]) -> dict[str, Any]:
    """`body` without the derived fields that the gateway adds for readers of the bare JSON."""
    return {name: value for name, value in body.items() if name in model.model_fields}
