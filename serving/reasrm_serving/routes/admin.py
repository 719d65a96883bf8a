"""`POST /v1/admin/weights`: the judge moves to new weights."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import Field

from reasrm.types import Frozen
from reasrm_serving.auth.gate import require_admin
from reasrm_serving.errors import Problem
from reasrm_serving.http.openapi import ERRORS, asks
from reasrm_serving.http.requests import read
from reasrm_serving.wiring import services_of

router = APIRouter(tags=["operating"])


class MoveWeights(Frozen):
    """The folder of the new weights on the engine's machine, and their name."""

    path: Annotated[str, Field(min_length=1)] = Field(description="The folder of the new weights, on the engine's own machine.")
    weight_version: Annotated[str, Field(min_length=1, max_length=200)] = Field(description="The name of the new weights.")


EXAMPLES = {"after a training step": {"value": {"path": "/models/judge/step-200", "weight_version": "step-200"}}}


@router.post("/v1/admin/weights", responses=ERRORS, openapi_extra=asks(MoveWeights, EXAMPLES))
async def weights(request: Request) -> Response:
    """Tell SGLang to load new weights. Judgments under way finish on the old weights and never count for the new ones."""
    require_admin()
    services = services_of(request)
    body = await read(request, MoveWeights)
    before = await services.engines.now()
    if body.weight_version == before.weight_version:
        message = f"the weights that are served now have the same name {before.weight_version!r}: their judgments would be mixed up"
        raise Problem(422, "invalid", message, "weight_version")
    info = await services.engines.load_weights(body.path, body.weight_version)
    moved = {"model": info.model, "weight_version": info.weight_version, "before": before.weight_version}
    return Response(orjson.dumps(moved), media_type="application/json")
