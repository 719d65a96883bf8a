"""Errors on the wire: one shape, `{"error": {"type", "message", "field"}}`, for everything that goes wrong."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any, cast

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from reasrm.errors import ConfigurationError, EngineBusy, EngineError, InputError, TooLong
from reasrm.failures import reason_of
from reasrm.types import PERMANENT
from reasrm_serving.judgment_json import JudgmentJson

log = logging.getLogger("reasrm.serving")


@dataclasses.dataclass(eq=False)
class Problem(Exception):
    """A refusal with its HTTP status; `type` is for programs, `message` for people, `field` names the culprit."""

    status: int
    type: str
    message: str
    field: str | None = None
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])

    def body(self) -> bytes:
        """The JSON of it."""
        return orjson.dumps({"error": {"type": self.type, "message": self.message, "field": self.field, **self.more}})

    def response(self) -> Response:
        """The HTTP response."""
        return Response(self.body(), self.status, dict(self.headers), "application/json")


def problem_of(error: BaseException) -> Problem:
    """The `Problem` that a caller gets for `error`."""
    match error:
        case Problem():
            return error
        case TooLong():
            return Problem(422, "too_long", str(error), error.field, {"count": error.count, "limit": error.limit})
        case ConfigurationError():  # the operator's mistake: no request can succeed, so clients should not retry
            log.error("%s", error)
            return Problem(500, "configuration", str(error), error.field)
        case InputError():
            return Problem(422, "invalid", str(error), error.field)
        case EngineBusy():
            after = str(max(1, round(error.retry_after_s or 1.0)))
            return Problem(429, "busy", str(error), headers={"retry-after": after})
        case EngineError() | TimeoutError():
            return problem_for(reason_of(error) or "engine_failed", str(error) or "there was no judgment in time")
        case _:
            log.error("a request failed", exc_info=error)
            return Problem(500, "internal", "the gateway failed; its log says why")


def problem_for(reason: str, detail: str) -> Problem:
    """The `Problem` that the caller of a single judgment gets for its failure, by `reason`, one of `reasrm.types.FAILURES`."""
    if reason in PERMANENT:
        return Problem(422, reason, detail)
    return Problem(504 if reason == "deadline" else 503, reason, detail, headers={"retry-after": "2"})


def failure_of(judgment: JudgmentJson) -> Problem | None:
    """The `Problem` that the caller of a single judgment gets for a failure; None for any other outcome."""
    return problem_for(judgment.label, orjson.loads(judgment.judgment)["outcome"]["detail"]) if judgment.failed else None


def install(app: Starlette, invalid: type[Exception]) -> None:
    """Give every error of `app` the one shape. `invalid` is what FastAPI raises for bad query parameters."""

    async def answer(_: Request, error: Exception) -> Response:
        return problem_of(error).response()

    async def answer_http(request: Request, raised: Exception) -> Response:
        error = cast(HTTPException, raised)
        kind, why = {
            404: ("not_found", f"there is nothing at {request.url.path}; /openapi.json lists the routes"),
            405: ("method_not_allowed", f"{request.url.path} does not take {request.method}; /openapi.json describes the routes"),
        }.get(error.status_code, ("http", str(error.detail)))
        return Problem(error.status_code, kind, why, headers=error.headers or {}).response()

    async def answer_invalid(_: Request, raised: Exception) -> Response:
        first = cast(Any, raised).errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:]) or None
        return Problem(422, "invalid", f"{field}: {first['msg']}" if field else first["msg"], field).response()

    for kind in (Problem, InputError, EngineError, TimeoutError):
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(HTTPException, answer_http)
    app.add_exception_handler(invalid, answer_invalid)
    app.add_exception_handler(Exception, answer)
