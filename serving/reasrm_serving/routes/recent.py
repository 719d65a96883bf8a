"""`GET /v1/recent` and `GET /v1/judgments/{id}`: the recent judgments of this gateway, if its operator shows them.

A caller with a key sees its own judgments, an admin sees all.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response

from reasrm_serving.auth.context import principal
from reasrm_serving.errors import Problem
from reasrm_serving.http.openapi import PLAIN
from reasrm_serving.observe.history import HistoryQuery
from reasrm_serving.wiring import services_of

MOST = 1000  # lines in one answer


def allowed(request: Request) -> None:
    """Raise `Problem` if no judgments are kept, or if a page of another origin sent the request through a visitor's browser."""
    settings = services_of(request).settings
    if not settings.keeps_recent:
        raise Problem(404, "not_kept", "this gateway keeps no recent judgments; its operator can: reasrm serve --recent 2000")
    if settings.on_loopback and not _is_local(request.url.hostname or ""):
        raise Problem(403, "foreign_host", "this gateway listens on loopback: call it by localhost or its address")


router = APIRouter(tags=["looking"], dependencies=[Depends(allowed)])


@router.get("/v1/recent", responses=PLAIN)
async def recent(
    request: Request,
    q: str = "",
    run: str = "",
    subset: str = "",
    outcome: Annotated[str, Query(description="`A`, `B`, or a reason why there is no verdict.")] = "",
    disagree: Annotated[bool, Query(description="Only pairs on which the two orders disagree.")] = False,
    limit: Annotated[int, Query(ge=0, le=MOST)] = 50,
) -> Response:
    """The newest matching judgments, and statistics of all matches: rate, histogram of P(A), trend of order consistency."""
    query = HistoryQuery(q, run, subset, outcome, disagree)
    return _json(await services_of(request).history.search(query, limit, principal.get()))


@router.get("/v1/judgments/{key}", operation_id="judgment", responses=PLAIN)
async def kept(request: Request, key: str) -> Response:
    """A judgment with the request that asked for it."""
    entry = services_of(request).history.find(key, principal.get())
    if entry is None:
        raise Problem(404, "not_found", "this gateway does not keep that judgment any more")
    judgment = entry.judgment.body(cached=entry.cached, prefix=b'{"id":' + orjson.dumps(key) + b",")
    return Response(
        b'{"request":' + orjson.dumps(entry.request()) + b',"judgment":' + judgment + b"}", media_type="application/json"
    )


def _is_local(host: str) -> bool:
    """Whether `host` can only mean this machine: a hostile page may resolve its own name to this address (DNS rebinding)."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host == "localhost"
    return True


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
