"""A plain FastAPI endpoint that returns a fixed body: the upper bound for any gateway in this framework."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, Response

app = FastAPI()
BODY = Path(sys.argv[2]).read_bytes() if __name__ == "__main__" else b"{}"


@app.post("/v1/judge")
async def judge(request: Request) -> Response:
    """Read the request, return the bytes."""
    await request.body()
    return Response(BODY, media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), access_log=False, log_level="warning")
