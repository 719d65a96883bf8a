"""Servers that answer as Ollama, vLLM, LM Studio, llama.cpp and hosted APIs do, recorded from their sources and documentation.

The model behind them counts in words, and judges for A; a token is a word. What differs is what differs between the servers: the
pages, the arguments that they take, refuse in their own words, or ignore, and the form of the reply.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
VERDICT = "<type>Chat</type><rubric>1. right (100%)</rubric><eval>A is right</eval><answer>[[A]]</answer>"
TURN = 5  # tokens around each message
ENTRY = {"id": "judge", "object": "model", "created": 0}

LOADED = [{"name": "judge", "context_length": 4096}]  # Ollama loads a model at the first request for it

Refusal = tuple[int, dict[str, Any]]


def pydantic_refusal(*names: str) -> Callable[[dict[str, Any]], Refusal | None]:
    """A server that forbids unknown arguments, as Mistral's and others do."""

    def refuse(body: dict[str, Any]) -> Refusal | None:
        wrong = [name for name in names if name in body]
        detail = [{"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"} for name in wrong]
        return (422, {"detail": detail}) if detail else None

    return refuse


def openai_refusal(*names: str) -> Callable[[dict[str, Any]], Refusal | None]:
    """OpenAI's own words for an argument that it does not know."""

    def refuse(body: dict[str, Any]) -> Refusal | None:
        for name in names:
            if name in body:
                words = f"Unrecognized request argument supplied: {name}"
                error = {"message": words, "type": "invalid_request_error", "param": None}
                return 400, {"error": error}
        return None

    return refuse


@dataclass
class Recorded:
    """One server's behaviour. `continues`: whether a trailing assistant message is continued always, when asked to, or never."""

    owner: str = "someone"
    entry: dict[str, Any] = field(default_factory=dict)
    pages: dict[str, Any] = field(default_factory=dict)
    refuse: Callable[[dict[str, Any]], Refusal | None] = lambda _: None
    continues: Literal["always", "asked", "never"] = "never"
    echoes: bool = False
    logprobs: Literal["good", "none", "zeros", "null", "text", "list", "words"] = "good"
    stops: bool = True
    usage: bool = True
    thought: str = ""
    reply: str = VERDICT
    streams_usage: bool = True
    hold: threading.Event | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    pieces_sent: int = 0


VLLM = Recorded(
    owner="vllm", entry={"max_model_len": 8192, "parent": None}, pages={"/version": {"version": "0.12.0"}}, continues="asked"
)
LLAMA_CPP = Recorded(
    owner="llamacpp",
    entry={"meta": {"n_ctx": 4096, "n_ctx_train": 8192}},
    pages={"/props": {"total_slots": 2, "build_info": "b9000-abc", "default_generation_settings": {"n_ctx": 4096}}},
    continues="always",
    echoes=True,
)
OLLAMA = Recorded(  # unknown arguments are ignored, and a model's owner is the namespace of its name
    owner="library",
    pages={"/api/version": {"version": "0.12.11"}, "/api/ps": lambda says: {"models": LOADED[: len(says.requests)]}},
    continues="always",
)
LM_STUDIO = Recorded(
    owner="organization_owner",
    pages={"/api/v0/models": {"data": [{"id": "judge", "max_context_length": 32768, "loaded_context_length": 4096}]}},
    logprobs="none",
)
OPENAI = Recorded(owner="system", refuse=openai_refusal("continue_final_message", "add_generation_prompt", "rid"))
CONTINUING = ("continue_final_message", "add_generation_prompt")
STRICT = Recorded(refuse=pydantic_refusal(*CONTINUING, "logprobs", "top_logprobs", "stream_options", "seed"))
PREFIXING = Recorded(refuse=pydantic_refusal(*CONTINUING), continues="always")


class Server(ThreadingHTTPServer):
    """A running server; `says` may be replaced while it runs, as when another program starts at the address."""

    daemon_threads = True

    def __init__(self, says: Recorded) -> None:
        super().__init__(("127.0.0.1", 0), _Replies)
        self.says = says
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: clients that leave are part of the tests."""


@contextmanager
def serving(says: Recorded) -> Iterator[Server]:
    """A running server that behaves as `says`."""
    with Server(says) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield server
        finally:
            if says.hold is not None:
                says.hold.set()
            server.shutdown()


class _Replies(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        says = self.server.says
        if self.path == "/v1/models":
            self._json(200, {"object": "list", "data": [ENTRY | {"owned_by": says.owner} | says.entry]})
        elif self.path in says.pages:
            page = says.pages[self.path]
            self._json(200, page(says) if callable(page) else page)
        else:
            self._json(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        says = self.server.says
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        says.requests.append(body)
        if says.hold is not None:
            says.hold.wait(30)
        refusal = says.refuse(body)
        if refusal is not None:
            self._json(*refusal)
            return
        words, cost, finish = _written(says, body)
        usage = {"prompt_tokens": cost, "completion_tokens": len(words)} if says.usage else {}
        if body.get("stream"):
            self._stream(says, body, words, usage, finish)
            return
        message = {"role": "assistant", "content": _echo(says, body) + "".join(words)}
        message |= {"reasoning_content": says.thought} if says.thought else {}
        choice = {"index": 0, "message": message, "finish_reason": finish} | _logprobs(says, body, words)
        self._json(200, {"choices": [choice], "usage": usage})

    def _stream(self, says: Recorded, body: dict[str, Any], words: list[str], usage: dict[str, Any], finish: str) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        pieces = [_echo(says, body), *words] if _echo(says, body) else words
        for piece in pieces:
            chosen = [piece] if piece in words else []
            choice = {"index": 0, "delta": {"content": piece}, "finish_reason": None} | _logprobs(says, body, chosen)
            self._event({"choices": [choice]})
            says.pieces_sent += 1
        self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        self._event({"choices": [], "usage": usage} if says.streams_usage else {"choices": []})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, value: Any) -> None:
        self.wfile.write(f"data: {json.dumps(value)}\n\n".encode())
        self.wfile.flush()

    def _json(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _continued(says: Recorded, body: dict[str, Any]) -> bool:
    asked = says.continues == "always" or (says.continues == "asked" and body.get("continue_final_message"))
    return bool(asked) and body["messages"][-1]["role"] == "assistant"


def _echo(says: Recorded, body: dict[str, Any]) -> str:
    return body["messages"][-1]["content"] if says.echoes and _continued(says, body) else ""


def _written(says: Recorded, body: dict[str, Any]) -> tuple[list[str], int, str]:
    """The words of the reply, the tokens of the prompt, and why the reply ends."""
    texts = [message["content"] for message in body["messages"]]
    continued = _continued(says, body)
    counting = any("Count from one" in text for text in texts)
    whole = " ".join(NUMBERS) if counting else says.reply
    begun = texts[-1] if continued else ""
    rest = whole[len(begun) :] if whole.startswith(begun) else whole
    words = ["A", "]]</answer>"] if begun.endswith("[[") else _tokens(rest)
    limit = body.get("max_tokens") or body.get("max_completion_tokens") or 1000
    finish = "length" if len(words) > limit else "stop"
    words = words[:limit]
    if says.stops:
        for stop in body.get("stop") or ():
            text = "".join(words)
            if stop in text:
                words, finish = _tokens(text[: text.index(stop)]), "stop"
    cost = sum(len(_tokens(text)) + TURN for text in texts) + (0 if continued else TURN)
    return words, cost - (TURN - 1 if continued else 0), finish


def _tokens(text: str) -> list[str]:
    """Words with the space in front of them; a letter of a verdict is a token of its own."""
    text = text.replace("[[A", "[[\0A\0").replace("[[B", "[[\0B\0")
    return [token for part in text.split("\0") for token in part.replace(" ", "\0 ").split("\0") if token]


def _logprobs(says: Recorded, body: dict[str, Any], words: list[str]) -> dict[str, Any]:
    if not body.get("logprobs") or says.logprobs == "none" or not words:
        return {}
    if says.logprobs in ("list", "words"):
        return {"logprobs": [-0.1] if says.logprobs == "list" else {"content": ["high", None]}}
    value: Any = {"good": math.log(0.7), "zeros": 0.0, "null": None, "text": "high"}[says.logprobs]
    other: Any = math.log(0.2) if says.logprobs == "good" else value
    asked = min(body.get("top_logprobs", 0), 20)

    def entry(word: str) -> dict[str, Any]:
        twin = {"A": "B", "B": "A"}.get(word, "?")
        listed = [(word, value), (twin, other)] + [(f"?{i}", -9.0 if says.logprobs == "good" else value) for i in range(18)]
        top = [{"token": token, "logprob": logprob} for token, logprob in listed[:asked]]
        return {"token": word, "logprob": value, "top_logprobs": top}

    return {"logprobs": {"content": [entry(word) for word in words]}}
