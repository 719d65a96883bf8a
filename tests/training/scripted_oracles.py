"""An OpenAI-compatible server whose replies a test decides, and a recipe that uses it for both oracles."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from reasrm_training.config.recipe import Recipe
from reasrm_training.data.examples import PreferenceExample, write_examples
from reasrm_training.oracle.chains import make_chains

COUNT = 40


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
        self.requests: list[dict[str, Any]] = []
        self.listings: list[int] = []  # statuses with which the list of models is refused before it is given
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    server: Oracles
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        known = self.path == "/v1/models"
        if known and self.server.listings:
            self.answer(self.server.listings.pop(), {})
            return
        self.answer(200 if known else 404, {"data": [{"id": "first"}, {"id": "second"}]} if known else {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body["path"] = self.path
        body["key"] = self.headers.get("authorization")
        with self.server.lock:
            self.server.requests.append(body)
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


def completion(text: str | None, usage: dict[str, Any] | None = None) -> dict[str, Any]:
    usage = {"prompt_tokens": 100, "completion_tokens": 50} if usage is None else usage
    return {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}


def example(number: int) -> PreferenceExample:
    a, b = ("right", "wrong") if number % 2 == 0 else ("wrong", "right")
    fields = {"question": f"question {number}", "a": a, "b": b, "winner": "AB"[number % 2]}
    return PreferenceExample.model_validate(fields | {"id": str(number), "source": "s"})


class Setting:
    """A recipe whose oracles are at `url`, with its data written."""

    def __init__(self, folder: Path, url: str) -> None:
        self.base = folder
        self.url = url
        self.data, self.chains = folder / "data", folder / "chains"
        write_examples(self.data / "distill.jsonl", [example(number) for number in range(COUNT)])

    def recipe(self, **oracle: Any) -> Recipe:
        end = {"url": self.url, "concurrency": 4, "usd_per_million_input": 10.0, "usd_per_million_output": 100.0}
        content = {
            "name": "chains",
            "model": {"path": "none"},
            "data": {"sources": [{"path": "x"}], "distill": COUNT},
            "oracle": {"first": end | {"model": "first"}, "second": end | {"model": "second"}, "max_tokens": 60} | oracle,
            "distill": {"learning_rate": 1e-5},
        }
        return Recipe.model_validate(content)

    def make(self, recipe: Recipe | None = None, **options: Any):
        return make_chains(recipe or self.recipe(), self.data, self.chains, environ={}, **options)


def label_in(body: dict[str, Any]) -> str:
    shown = body["messages"][1]["content"]
    return "A" if shown.index("right") < shown.index("wrong") else "B"


def wrong_at_first(body: dict[str, Any]) -> str:
    """A first oracle that always answers A, and a second one that follows the label."""
    if body["model"] == "second":
        return chain("A" if "response A is the better" in body["messages"][-1]["content"] else "B")
    return chain("A")
