"""The playground: `/` and its files, which are part of the package and load nothing from elsewhere."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response

from reasrm_serving.errors import Problem
from reasrm_serving.wiring import services_of

STATIC = Path(__file__).parent.parent / "static"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
#: The page may load only its own files, and no page may frame it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SAFE = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",  # browsers revalidate each time, and get 304
}
READ = ["GET", "HEAD"]
router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is sent."""

    body: bytes
    media_type: str
    etag: str

    @classmethod
    def of(cls, body: bytes, suffix: str) -> File:
        """A file of that kind."""
        return cls(body, TYPES[suffix], f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"')

    def answer(self, request: Request) -> Response:
        """The whole file, or 304 if the browser has it already."""
        headers = SAFE | {"etag": self.etag}
        if request.headers.get("if-none-match") == self.etag:
            return Response(status_code=304, headers=headers)
        return Response(self.body, headers=headers, media_type=self.media_type)


@cache
def _files() -> dict[str, File]:
    return {path.name: File.of(path.read_bytes(), path.suffix) for path in STATIC.iterdir() if path.suffix in TYPES}


@cache
def _index(recent: bool, world: bool) -> File:
    """The page, with two facts: whether recent judgments are kept, and whether the judge only knows the generated world."""
    body = _files()["index.html"].body
    for name, on in ((b"recent", recent), (b"world", world)):
        body = body.replace(b'data-%s="off"' % name, b'data-%s="on"' % name) if on else body
    return File.of(body, ".html")


@router.api_route("/", methods=READ)
async def index(request: Request) -> Response:
    """The page."""
    services = services_of(request)
    given = services.prompts.given
    return _index(services.settings.keeps_recent, given is not None and given.name == "world").answer(request)


@router.api_route("/static/{name}", methods=READ)
async def static(request: Request, name: str) -> Response:
    """A file of the page."""
    file = _files().get(name)
    if file is None:
        raise Problem(404, "not_found", f"the page has no file {name}")
    return file.answer(request)
