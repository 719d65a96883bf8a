"""The API's description. Routes read their bodies themselves, so their requests and answers are described here.

A model is described once, under `components/schemas`, and referred to by name: that is what client generators need.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, create_model
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from reasrm.judging.group import Rewarded
from reasrm.types import Judgment, Order, Ranking, Side

_PLACE = "#/components/schemas/{model}"
#: Every model that a route takes or answers, with the direction in which it is described.
_MODELS: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {}
BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key of the gateway's key file. Clients that take only an address may send it as the password of the address.",
}


class _Derived(BaseModel):
    """Facts that readers of the bare JSON like to find beside a judgment."""

    winner: Side | None = Field(description="The better response; null where there is no verdict.")
    probability_a: float | None = Field(description="The probability that A is better; null where there is no verdict.")
    order_consistent: bool | None = Field(
        description="Whether both orders name the same response; null unless both gave a verdict."
    )


class _Rewards(BaseModel):
    rewards: list[float | None] = Field(description="One reward per response, in the order of the request; null: not judged.")


class _Index(BaseModel):
    index: int = Field(description="The pair, by its place in the request.")


def _joined(name: str, about: str, *parts: type[BaseModel]) -> type[BaseModel]:
    """A model with the fields of all `parts`."""
    fields = {field: (info.annotation, info) for part in parts for field, info in part.model_fields.items()}
    return create_model(name, __doc__=about, **cast("dict[str, Any]", fields))


JudgmentResponse = _joined("JudgmentResponse", "A judgment, with the facts derived from it.", _Derived, Judgment)
BatchLine = _joined("BatchLine", "One line of a batch's answer: a judgment with the place of its pair.", _Index, _Derived, Judgment)
RankingResponse = _joined("RankingResponse", "A ranking, with its rewards as a plain list.", _Rewards, Ranking)


class StreamDelta(BaseModel):
    """The data of a `delta` event: the next piece of a reply."""

    order: Order = Field(description="The order in which this reply reads the pair.")
    reply: int = Field(description="The number of the reply, from 0.")
    text: str = Field(description="The next piece of its text.")


class ErrorBody(BaseModel):
    """An error: what happened, and where."""

    type: str = Field(description="The kind of error, for programs.")
    message: str = Field(description="What went wrong and what to do, for people.")
    field: str | None = Field(default=None, description="The field of the request that is wrong, where there is one.")


class ErrorResponse(BaseModel):
    """Every error has this shape."""

    error: ErrorBody = Field(description="What went wrong.")


class BatchError(BaseModel):
    """One line of a batch's answer whose pair was refused."""

    index: int = Field(description="The pair, by its place in the request.")
    error: ErrorBody = Field(description="Why there is no judgment.")


def _ref(model: type[BaseModel], mode: JsonSchemaMode = "serialization") -> dict[str, Any]:
    _MODELS[model, mode] = None
    return {"$ref": _PLACE.format(model=model.__name__)}


def asks(model: type[BaseModel], examples: Mapping[str, Any]) -> dict[str, Any]:
    """The description of a request body."""
    content = {"schema": _ref(model, "validation"), "examples": examples}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def answers(about: str, *models: type[BaseModel], media_type: str = "application/json") -> dict[int | str, dict[str, Any]]:
    """The description of a route's answers: one of `models` (without any, a text), or one of the errors."""
    references = [_ref(model) for model in models] or [{"type": "string"}]
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    return ERRORS | {200: {"description": about, "content": {media_type: {"schema": schema}}}}


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": why, "content": {"application/json": {"schema": _ref(ErrorResponse)}}}
    for status, why in {
        400: "The body is not JSON, or not UTF-8.",
        401: "The gateway has a key file, and the request has no key of it.",
        413: "The body is larger than the gateway takes.",
        422: "A field is missing, unknown or wrong, or the texts are too long for the judge; `field` names it.",
        429: "Too much is under way; Retry-After says when to come back.",
        503: "The engine failed or is away: there is no verdict.",
        504: "There was no judgment within `timeout_s`.",
    }.items()
}
#: The errors of a route that takes no body.
PLAIN: dict[int | str, dict[str, Any]] = {status: ERRORS[status] for status in (401, 422)}
JUDGED = answers("The judgment.", JudgmentResponse)
BATCHED = answers(
    "One line of JSON per pair, in the order in which they finish: a BatchLine, or a BatchError where the pair was refused.",
    BatchLine,
    BatchError,
    media_type="application/x-ndjson",
)
RANKED = answers("The ranking.", RankingResponse)
REWARDED = answers("The reward of this rollout.", Rewarded)
STREAMED = answers(
    "Server-sent events: `delta`, whose data is a StreamDelta, for every piece of a reply; then one `judgment`, whose data is a "
    "JudgmentResponse, or one `error`, whose data is an ErrorResponse.",
    media_type="text/event-stream",
)
_ref(StreamDelta)


class _Untitled(GenerateJsonSchema):
    """Schemas whose fields have no titles: generators would name classes by them, and fields of several models share names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never."""
        return False


def describe(app: FastAPI, *, open_paths: tuple[str, ...], keyed: bool) -> None:
    """Give `app` its description. `open_paths` need no key; `keyed` is whether the others do."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            parts = cast("dict[str, Any]", document.setdefault("components", {}))
            _, schemas = models_json_schema([*_MODELS], ref_template=_PLACE, schema_generator=_Untitled)
            parts["schemas"] = cast("dict[str, Any]", schemas["$defs"])
            parts["securitySchemes"] = {"bearer": BEARER}
            for path, operations in cast("dict[str, dict[str, Any]]", document["paths"]).items():
                for operation in operations.values():
                    operation["security"] = [{"bearer": []}] if keyed and path not in open_paths else []
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi


def operation_id(route: APIRoute) -> str:
    """The name of a route's function: what a generated client calls the operation."""
    return route.name
