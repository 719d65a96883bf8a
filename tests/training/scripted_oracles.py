"""An OpenAI-compatible server that answers as a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def chain(answer: str) -> str:
    return f"<type>Reasoning</type>\n<solution>\ns\n</solution>\n<eval>\ne\n</eval>\n<answer>[[{answer}]]</answer>"


Behaviour = Callable[[dict[str, Any]], str | int | bytes | None]


class Oracles(ThreadingHTTPServer):
    """An OpenAI-compatible server whose replies are a function of the request: a text, a status, raw bytes, or None to hang up."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.behaviour: Behaviour = lambda body: chain("A")
        self.asked: list[dict[str, Any]] = []
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    server: Oracles
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        known = self.path == "/v1/models"
        self.answer(200 if known else 404, {"data": [{"id": "first"}, {"id": "second"}]} if known else {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body["key"] = self.headers.get("authorization")
        with self.server.lock:
            self.server.asked.append(body)
            self.server.in_flight += 1
            self.server.most_in_flight = max(self.server.most_in_flight, self.server.in_flight)
        reply = self.server.behaviour(body)
        with self.server.lock:
            self.server.in_flight -= 1
        if reply is None:
            self.close_connection = True
        elif isinstance(reply, int):
            self.answer(reply, {"error": "no"})
        elif isinstance(reply, bytes):
            self.answer(200, reply)
        else:
            self.answer(200, completion(reply))

    def answer(self, status: int, body: Any) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        if status == 429:
            self.send_header("retry-after", "1")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def completion(text: str) -> dict[str, Any]:
    usage = {"prompt_tokens": 100, "completion_tokens": 50}
    return {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}
