"""An engine for tests of routers and scripts: it speaks the part of SGLang's HTTP that a gateway uses, and always prefers A.

POST /quit ends it.

python worker.py PORT WEIGHT_VERSION
"""

from __future__ import annotations

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PORT, WEIGHTS = int(sys.argv[1]), sys.argv[2]
REPLY = "<type>Reasoning</type><solution>A is right.</solution><eval>A is right.</eval><answer>[[A]]</answer>"
GETS: dict[str, dict[str, Any]] = {
    "/health": {},
    "/v1/models": {"object": "list", "data": [{"id": "judge", "object": "model", "max_model_len": 4096}]},
    "/model_info": {"weight_version": WEIGHTS, "is_generation": True},
    "/get_model_info": {"weight_version": WEIGHTS, "is_generation": True},
    "/server_info": {"served_model_name": "judge"},
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send(GETS.get(self.path))

    def do_POST(self) -> None:
        if self.path == "/quit":
            os._exit(1)
        self.rfile.read(int(self.headers.get("content-length", 0)))
        choice = {"index": 0, "message": {"role": "assistant", "content": REPLY}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
        body = {"id": "x", "object": "chat.completion", "created": 1, "model": "judge", "choices": [choice], "usage": usage}
        self._send({**body, "metadata": {"weight_version": WEIGHTS}} if self.path == "/v1/chat/completions" else None)

    def _send(self, body: dict[str, Any] | None) -> None:
        content = json.dumps(body or {}).encode()
        self.send_response(404 if body is None else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
