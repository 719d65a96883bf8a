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
    """Where the engine's own machine finds the new weights, and what to call them."""

    path: Annotated[str, Field(min_length=1)] = Field(description="The folder of the new weights, on the engine's own machine.")
    weight_version: Annotated[str, Field(min_length=1, max_length=200)] = Field(description="The name of the new weights.")


EXAMPLES = {"after a training step": {"value": {"path": "/models/judge/step-200", "weight_version": "step-200"}}}


@router.post("/v1/admin/weights", responses=ERRORS, openapi_extra=asks(MoveWeights, EXAMPLES))
async def weights(request: Request) -> Response:
    """Tell SGLang to load new weights, all of them. Judgments under way finish on the old ones, and none is given for the new."""
    require_admin()
    services = services_of(request)
    asked = await read(request, MoveWeights)
    before = await services.engines.now()
    if asked.weight_version == before.weight_version:
        why = f"the weights served now are called {before.weight_version!r} too: their judgments would be taken for the new ones'"
        raise Problem(422, "invalid", why, "weight_version")
    info = await services.engines.load_weights(asked.path, asked.weight_version)
    body = {"model": info.model, "weight_version": info.weight_version, "before": before.weight_version}
    return Response(orjson.dumps(body), media_type="application/json")
