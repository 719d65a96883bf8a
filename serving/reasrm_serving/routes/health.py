"""The state of the gateway (`/healthz`, `/readyz`, `/metrics`), and the served model (`/v1/models`)."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from reasrm import __version__
from reasrm.engine.table import as_data
from reasrm_serving.wiring import services_of

router = APIRouter(tags=["operating"])


@router.head("/healthz", include_in_schema=False)  # load balancers send GET or HEAD
@router.get("/healthz")
async def healthz() -> Response:
    """Whether the process lives: always 200."""
    return _json({"status": "alive", "version": __version__})


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """200 "ready" or "degraded" (an engine of several is away, or judging is uncached), 503 "not ready" while no engine answers."""
    services = services_of(request)
    link, engine = services.link, services.engines.error
    engines = {member.name: member.error or "ok" for member in services.engines.members}
    away = (link is not None and not link.up) or set(engines.values()) != {"ok"}
    status = "not ready" if engine else "degraded" if away else "ready"
    parts: dict[str, Any] = {
        "engine": engine or "ok",
        "engines": engines,
        "cache": services.settings.cache.split("://")[0] if link is None or link.up else "redis is away: judging uncached",
    }
    return _json({"status": status, **parts}, 503 if engine else 200)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """All metrics, for Prometheus."""
    return Response(generate_latest(services_of(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/models")
async def models(request: Request) -> Response:
    """The judge that is served: model, weight version, prompt digest, the longest context in tokens, and what its engines can do.

    `judgment_seconds` is how long a judgment takes at present. Null is what is not known yet; `probed` is false while an engine's
    abilities are being measured.
    """
    services = services_of(request)
    info = await services.engines.now()
    judge = {
        "id": info.model,
        "object": "model",
        "owned_by": "reasrm",
        "weight_version": info.weight_version,
        "prompt_digest": services.prompts.of(info.model).digest,
        "max_context": info.max_context,
        "judgment_seconds": services.metrics.pace_s,
        "engines": [{"name": member.name} | as_data(member.known) for member in services.engines.members if member.known],
    }
    return _json({"object": "list", "data": [judge]})


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
