"""An engine that answers at once in SGLang's form, so that a bench measures only the parts in front of it."""

from __future__ import annotations

import json
import sys
import uuid
from typing import Any

import uvicorn

TEXT = "<type>Chat</type>\n<rubric>\n1. Correctness (100%)\n</rubric>\n<eval>The first is right.</eval>\n<answer>[[A]]</answer>"
PIECES = [*TEXT.removesuffix("A]]</answer>"), "A", "]]", "</answer>"]


def _reply() -> bytes:
    content = [
        {
            "token": piece,
            "bytes": None,
            "logprob": -0.1,
            "top_logprobs": [{"token": letter, "logprob": -2.0} for letter in ("A", "B", "C")],
        }
        for piece in PIECES[-24:]
    ]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": TEXT},
        "logprobs": {"content": content},
        "finish_reason": "stop",
    }
    usage = {"prompt_tokens": 1200, "completion_tokens": 60, "total_tokens": 1260}
    body = {
        "id": uuid.uuid4().hex,
        "object": "chat.completion",
        "created": 1,
        "model": "judge",
        "choices": [choice],
        "usage": usage,
    }
    return json.dumps(body | {"metadata": {"weight_version": "default"}}).encode()


REPLY = _reply()
MODELS = json.dumps({"object": "list", "data": [{"id": "judge", "object": "model", "max_model_len": 32768}]}).encode()
INFO = json.dumps({"model_path": "judge", "weight_version": "default"}).encode()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI app: it answers three paths and ignores the request's content."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    path = scope["path"]
    body = REPLY if path.endswith("/chat/completions") else MODELS if path.endswith("/models") else INFO
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), access_log=False, log_level="warning", lifespan="off")
