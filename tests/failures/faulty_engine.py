"""An engine on loopback that misbehaves on demand: a small HTTP server with one `mode` for all of its replies."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from reasrm.engine.probe import COUNT

REPLY = "<type>Chat</type><rubric>1. right (100%)</rubric><eval>A is right</eval><answer>[[A]]</answer>"
GOOD = {
    "choices": [{"message": {"role": "assistant", "content": REPLY}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 9},
}
MEMORY = {"error": {"message": "CUDA out of memory", "type": "server_error", "code": 500}}
FORBIDDEN = {"error": {"message": "the prompt holds a forbidden token", "type": "bad_request", "code": 400}}
TOO_LONG = {"message": "The input (9000 tokens) is longer than the model's context length (8192 tokens)."}
NO_KEY = {"error": {"message": "Incorrect API key provided: the-key", "code": "invalid_api_key"}}
NO_MODEL = {"error": {"message": "The model `judge` does not exist", "code": "model_not_found"}}


def chunk(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


class Engine(ThreadingHTTPServer):
    """`mode` names its fault. `requests` holds the bodies of the completion requests."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Replies)
        self.mode = "good"
        self.refuses: tuple[str, ...] = ()  # arguments that it refuses, as a server that checks its input does
        self.over = threading.Event()
        self.requests: list[dict[str, Any]] = []

    @property
    def judging(self) -> list[dict[str, Any]]:
        """The requests without those that measure what the engine can do."""
        return [body for body in self.requests if body["messages"][0]["content"] != COUNT.messages[0].content]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: clients that leave are part of the tests."""


class Replies(BaseHTTPRequestHandler):
    server: Engine

    def do_GET(self) -> None:
        if self.server.mode in ("wrong key", "redirect"):
            getattr(self, "_" + self.server.mode.replace(" ", "_"))({})
        elif self.path == "/v1/models":
            self._json(200, {"data": [{"id": "judge", "max_model_len": 8192}]})
        else:
            self._json(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append(body)
        refused = [name for name in self.server.refuses if name in body]
        if refused:
            detail = [{"type": "extra_forbidden", "loc": ["body", refused[0]], "msg": "Extra inputs are not permitted"}]
            self._json(422, {"detail": detail})
            return
        getattr(self, "_" + self.server.mode.replace(" ", "_"))(body)

    def _good(self, body: dict[str, Any]) -> None:
        if body.get("stream"):
            self._events(chunk(REPLY), chunk("", "stop"), "[DONE]")
        else:
            self._json(200, GOOD)

    def _busy_503(self, _: dict[str, Any]) -> None:
        self._json(503, {"message": "no room"})

    def _busy_429(self, _: dict[str, Any]) -> None:
        self._json(429, {"message": "slow down"}, {"retry-after": "0"})

    def _timeout(self, _: dict[str, Any]) -> None:
        self.server.over.wait(30)

    def _cut(self, body: dict[str, Any]) -> None:
        if body.get("stream"):
            self._events(chunk("<type>Chat</type><answer>[[A]]</answer>"))
        else:
            self._send(200, json.dumps(GOOD).encode()[:40], {"content-length": "400"})

    def _error_inside(self, body: dict[str, Any]) -> None:
        if body.get("stream"):
            self._events(chunk("<answer>[[A]]</answer>"), MEMORY, "[DONE]")
        else:
            self._json(200, MEMORY)

    def _garbage(self, body: dict[str, Any]) -> None:
        if body.get("stream"):
            self._events({"choices": "none"}, "[DONE]")
        else:
            self._send(200, b"<html>It works!</html>")

    def _forbidden(self, _: dict[str, Any]) -> None:
        self._json(400, FORBIDDEN)

    def _too_long(self, _: dict[str, Any]) -> None:
        self._json(400, TOO_LONG)

    def _wrong_key(self, _: dict[str, Any]) -> None:
        self._json(401, NO_KEY)

    def _wrong_model(self, _: dict[str, Any]) -> None:
        self._json(404, NO_MODEL)

    def _redirect(self, _: dict[str, Any]) -> None:
        self._send(307, b"", {"location": "http://elsewhere.invalid/v1/chat/completions"})

    def _events(self, *events: Any) -> None:
        data = "".join(f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n" for event in events)
        self._send(200, data.encode(), {"content-type": "text/event-stream"})

    def _json(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(body).encode(), {"content-type": "application/json"} | (headers or {}))

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"content-length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def misbehaving(mode: str = "good", context: ssl.SSLContext | None = None) -> Iterator[Engine]:
    """A running engine, with TLS where there is a `context`."""
    with Engine() as engine:
        engine.mode = mode
        if context is not None:
            engine.socket = context.wrap_socket(engine.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=engine.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield engine
        finally:
            engine.over.set()
            engine.shutdown()
