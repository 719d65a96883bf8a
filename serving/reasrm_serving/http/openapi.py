"""What the API's description says beyond the routes' signatures: they read the body themselves, so it is described here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel, Field

from reasrm.types import Judgment, Ranking, Side


class JudgmentResponse(BaseModel):
    """A `Judgment` with its derived facts beside it."""

    winner: Side | None = Field(description="The better side; null where there is no verdict.")
    probability_a: float | None = Field(description="P(A is better), by the verdict token or the votes; null without verdict.")
    order_consistent: bool | None = Field(description="Whether both orders name the same side; null unless both gave a verdict.")


class ErrorBody(BaseModel):
    """What went wrong: `type` for programs, `message` for people, `field` where one is to blame."""

    type: str
    message: str
    field: str | None = None


class ErrorResponse(BaseModel):
    """Every error has this shape."""

    error: ErrorBody


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of `model` with its parts inside it."""
    return _inlined(model.model_json_schema())


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    parts = schema.pop("$defs", {})

    def walk(node: Any) -> Any:
        if isinstance(node, list):
            return [walk(value) for value in cast(list[Any], node)]
        if not isinstance(node, dict):
            return node
        fields = cast(dict[str, Any], node)
        if "$ref" in fields:
            return walk(parts[fields["$ref"].rsplit("/", 1)[1]])
        return {name: walk(value) for name, value in fields.items()}

    return walk(schema)


def asks(model: type[BaseModel], examples: Mapping[str, Any]) -> dict[str, Any]:
    """The description of a request body."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": _schema(model), "examples": examples}}}}


def _judgment_schema() -> dict[str, Any]:
    judgment, derived = _schema(Judgment), _schema(JudgmentResponse)
    return judgment | {"properties": derived["properties"] | judgment["properties"], "additionalProperties": False}


def _ranking_schema() -> dict[str, Any]:
    ranking = _schema(Ranking)
    rewards = {"type": "array", "items": {"type": ["number", "null"]}, "description": "One a response; null: not judged."}
    return ranking | {"properties": {"rewards": rewards} | ranking["properties"], "additionalProperties": False}


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": why}
    for status, why in {
        400: "The body is no JSON, or not UTF-8.",
        413: "The body is larger than the gateway takes.",
        422: "A field is missing, unknown or wrong, or the texts are too long for the judge; `field` names it.",
        429: "Too much is under way; Retry-After says when to come back.",
        503: "The engine failed or is away: there is no verdict.",
        504: "There was no judgment within `timeout_s`.",
    }.items()
}
JUDGED = ERRORS | {
    200: {"description": "The judgment.", "content": {"application/json": {"schema": _judgment_schema()}}},
}
BATCHED = ERRORS | {
    200: {
        "description": "Lines of JSON: judgments with the `index` of their pair.",
        "content": {"application/x-ndjson": {"schema": _judgment_schema()}},
    }
}
RANKED = ERRORS | {
    200: {"description": "The ranking.", "content": {"application/json": {"schema": _ranking_schema()}}},
}
STREAMED = ERRORS | {
    200: {
        "description": "Events `delta` {order, reply, text}, then `judgment` (as from /v1/judge) or `error`.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}
