"""The gateway as an ASGI app: its routes, its errors and its services, put together from lists."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Response
from fastapi.exceptions import RequestValidationError
from starlette.middleware.cors import CORSMiddleware

from reasrm import __version__
from reasrm_serving import errors, frameworks
from reasrm_serving.auth.gate import gate_of
from reasrm_serving.engines.launched import LaunchedEngine
from reasrm_serving.http import openapi
from reasrm_serving.http.front_door import OPEN_PATHS, FrontDoor
from reasrm_serving.routes import admin, batch, health, judge, pages, rank, recent, stream
from reasrm_serving.settings import Settings
from reasrm_serving.wiring import open_services

JUDGING = (judge.router, batch.router, stream.router, rank.router, *frameworks.ROUTERS)
ROUTERS = (*JUDGING, recent.router, admin.router, health.router, pages.router)
ABOUT = "Reasoned verdicts on pairs of responses: which is better, with what probability, and why."


def create_app(settings: Settings, launched: LaunchedEngine | None = None) -> FastAPI:
    """The app for `settings` and the engine that was launched for them; everything else that it needs is opened when it starts."""

    gate = gate_of(settings.keys, settings.redis_url)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        try:
            async with open_services(settings, launched) as services:
                app.state.services = services
                yield
        except Exception as error:
            app.state.failed = error  # kept for the caller that runs the server: uvicorn only reports that it did not start
            raise
        finally:
            if gate is not None:
                await gate.aclose()

    # FastAPI's own API pages load scripts from the internet, which a gateway may not reach; /openapi.json is enough.
    app = FastAPI(
        default_response_class=Response,  # routes return bytes themselves; http/openapi.py describes them
        title="reasrm",
        version=__version__,
        description=ABOUT,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=openapi.operation_id,
    )
    app.state.max_body_bytes = int(settings.max_body_mb * 2**20)
    for router in ROUTERS:
        app.include_router(router)
    openapi.describe(app, open_paths=OPEN_PATHS, keyed=gate is not None)
    errors.install(app, RequestValidationError)
    app.add_middleware(FrontDoor, gate=gate, origins=settings.allow_origin)
    if settings.allow_origin:  # outside of the front door, because a browser's preflight request carries no key
        app.add_middleware(CORSMiddleware, allow_origins=settings.allow_origin, allow_methods=["*"], allow_headers=["*"])
    return app
