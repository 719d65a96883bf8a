"""How FastAPI calls the routes that read their own body."""

from __future__ import annotations

from typing import Any

from fastapi.routing import APIRoute
from starlette.routing import request_response


class DirectRoute(APIRoute):
    """A route whose endpoint takes the request and returns a response, so that there are no dependencies to solve per request.

    FastAPI describes it in the API as any other.
    """

    def __init__(self, path: str, endpoint: Any, **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.app = request_response(endpoint)
