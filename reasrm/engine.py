"""The engine seam over HTTP: SGLang, or any server that speaks OpenAI's chat completions.

`HttpEngine.complete` turns an `Ask` into one request. What only SGLang knows (weight versions, aborting by id, the tokens of a
text) is used where the server turns out to be SGLang and left out elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import httpx

from reasrm.address import http_address
from reasrm.errors import (
    EngineBusy,
    EngineError,
    EngineNonsense,
    EngineRefused,
    EngineTimeout,
    EngineUnreachable,
    InputError,
    TooLong,
)
from reasrm.parsing import last_answer_letter, mended
from reasrm.types import Ask, Completion, Message, Token, Usage

#: An idle connection is used no more after so long: SGLang, as every uvicorn, closes it after 5 s, perhaps as a request leaves.
IDLE_S = 3.0
TAIL_TOKENS = 64  # the verdict tag stands at the end of a reply: the log-probabilities before it are not kept
TOP_LOGPROBS = 3  # the verdict's letter and its twin; an 8k-token reply carries them for every token
RETRIES = 3
#: Addresses that say which version of the API they are, as Gemini's: no /v1 follows them.
_VERSIONED = re.compile(r"/v\d\w*(/openai)?$")


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What serves: model name, version of its weights, longest context in tokens (0 = unknown), and whether it is SGLang."""

    model: str
    weight_version: str
    max_context: int
    sglang: bool


class HttpEngine:
    """A `Completer` over one server. Use as an async context manager, or call `aclose`.

    `timeout_s` bounds one request; `retries` are made with jitter on refused connections, 429 and 503 within that time.
    `logprobs` off serves engines that cannot give any: probabilities then come from votes. `body` is laid over every request
    (see `overlaid`). `info`, where it is known, spares the question of what is served: not every server can answer it.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        timeout_s: float = 300.0,
        retries: int = RETRIES,
        logprobs: bool = True,
        connections: int = 512,
        body: Mapping[str, Any] | None = None,
        info: EngineInfo | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self.url = http_address(url, "the engine's", "engine").removesuffix("/v1")
        self.timeout_s = timeout_s
        self._model = model
        self._retries = retries
        self._logprobs = logprobs
        self._v1 = "" if _VERSIONED.search(self.url) else "/v1"
        self._body = body or {}
        self._info = info
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = http or httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(timeout_s, connect=5.0),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=IDLE_S),
            trust_env=False,
        )

    async def __aenter__(self) -> HttpEngine:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def info(self, *, refresh: bool = False) -> EngineInfo:
        """What the server serves; asked once unless `refresh`. Raises `EngineError`."""
        if self._info is None or refresh:
            self._info = await self._ask_info()
        return self._info

    async def _ask_info(self) -> EngineInfo:
        listed = _json(await self._request("GET", f"{self._v1}/models", None))
        models = cast(list[dict[str, Any]], listed.get("data") or [])
        if not models:
            raise EngineNonsense(f"{self.url}{self._v1}/models lists no model")
        entry = next((each for each in models if each.get("id") == self._model), models[0])
        if self._model is not None and entry.get("id") != self._model:
            names = ", ".join(str(each.get("id")) for each in models)
            raise InputError(f"{self.url} does not serve {self._model!r}; it serves {names}", field="model")
        about = await self._about()
        return EngineInfo(
            model=str(entry.get("id")),
            weight_version=str(about.get("weight_version", "")),
            max_context=int(entry.get("max_model_len") or 0),
            sglang=bool(about),
        )

    async def _about(self) -> dict[str, Any]:
        """What SGLang says of itself; nothing where the server is not SGLang."""
        for path in ("/model_info", "/get_model_info"):  # sglang-router passes on the old name only, to one of its workers
            try:
                answer = await self._http.get(self.url + path, timeout=10.0)
            except httpx.HTTPError as failure:
                raise _transport_error(failure, self.url, 10.0) from failure
            if answer.status_code == 200:
                return _json(answer)
        return {}

    async def complete(self, ask: Ask) -> Completion:
        """One completion of `ask`. Raises `EngineError`, or `TooLong` where the prompt does not fit the model."""
        info = await self.info()
        rid = uuid.uuid4().hex
        started = time.perf_counter()
        try:
            body = _json(await self._request("POST", f"{self._v1}/chat/completions", self._payload(ask, info, rid)))
        except asyncio.CancelledError:
            self._abort_later(info, rid)
            raise
        return completion_of(body, info, ask, time.perf_counter() - started)

    async def stream(self, ask: Ask) -> AsyncIterator[str | Completion]:
        """Yield the reply's text in pieces as it is written, then the whole `Completion`. Closing the iterator stops the engine."""
        info = await self.info()
        payload = self._payload(ask, info, uuid.uuid4().hex)
        # SGLang's stream repeats one token's alternatives for every token of a chunk, so the letter's are asked for afterwards.
        payload = {name: value for name, value in payload.items() if "logprobs" not in name}
        payload |= {"stream": True, "stream_options": {"include_usage": True}}
        started = time.perf_counter()
        gathered = Gathered()
        try:
            async with self._http.stream("POST", f"{self.url}{self._v1}/chat/completions", json=payload) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise _error_of(response, self.url)
                async for line in response.aiter_lines():
                    if piece := gathered.add(line):
                        yield piece
        except httpx.HTTPError as error:
            raise _transport_error(error, self.url, self.timeout_s) from error
        completion = completion_of(gathered.body(), info, ask, time.perf_counter() - started)
        tokens = await self._verdict_tokens(ask, completion.text) if self._logprobs else None
        yield completion.model_copy(update={"tokens": tokens})

    async def _verdict_tokens(self, ask: Ask, text: str) -> tuple[Token, ...] | None:
        """The letter's alternatives, by one more token after the reply up to its letter (all of it in the prefix cache)."""
        letter = last_answer_letter(ask.prefill + text)
        if letter is None:
            return None
        before = (ask.prefill + text)[:letter]
        probe = ask.model_copy(update={"prefill": before, "max_tokens": 1, "temperature": 0.0, "stop": (), "seed": None})
        tokens = (await self.complete(probe)).tokens
        if not tokens:
            return None
        return (Token(text=before[-TAIL_TOKENS:], top={}), Token(text=(ask.prefill + text)[letter], top=tokens[-1].top))

    async def load_weights(self, path: str, weight_version: str) -> EngineInfo:
        """Tell SGLang to load the weights at `path` (as its own machine sees it) and to call them `weight_version`."""
        payload = {"model_path": path, "weight_version": weight_version, "abort_all_requests": False}
        answer = _json(await self._request("POST", "/update_weights_from_disk", payload))
        if not answer.get("success"):
            raise EngineError(f"{self.url} did not load {path}: {answer.get('message', 'no reason given')}")
        return await self.info(refresh=True)

    def _payload(self, ask: Ask, info: EngineInfo, rid: str) -> dict[str, Any]:
        messages = [_wire(message) for message in ask.messages]
        payload: dict[str, Any] = {
            "model": info.model,
            "messages": messages,
            "temperature": ask.temperature,
            "top_p": ask.top_p,
            "max_tokens": ask.max_tokens,
        }
        if ask.prefill:
            messages.append({"role": "assistant", "content": ask.prefill})
            payload |= {"continue_final_message": True, "add_generation_prompt": False}
        if self._logprobs:
            payload |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        if ask.seed is not None:
            payload["seed"] = ask.seed
        if ask.stop:
            payload["stop"] = list(ask.stop)
        if info.sglang:
            payload["rid"] = rid
        return overlaid(payload, self._body)

    async def _request(self, method: str, path: str, payload: dict[str, Any] | None) -> httpx.Response:
        """One request with retries while the engine is away or busy; raises an `EngineError` that says which it was."""
        deadline = time.monotonic() + self.timeout_s
        for attempt in range(self._retries + 1):
            try:
                response = await self._send(method, path, payload)
                if response.status_code == 200:
                    return response
                error = _error_of(response, self.url)
            except httpx.HTTPError as failure:
                error = _transport_error(failure, self.url, self.timeout_s)
            pause = backoff_s(attempt)
            again = isinstance(error, EngineUnreachable | EngineBusy) and attempt < self._retries
            if not again or time.monotonic() + pause > deadline:
                raise error
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    async def _send(self, method: str, path: str, payload: dict[str, Any] | None) -> httpx.Response:
        """One request; raises `httpx.HTTPError`. A subclass may have other connections."""
        return await self._http.request(method, self.url + path, json=payload)

    def _abort_later(self, info: EngineInfo, rid: str) -> None:
        """SGLang notices a closed connection only after a while: naming the request stops it at once."""
        if info.sglang:
            task = asyncio.ensure_future(self._abort(rid))
            _ABORTS.add(task)
            task.add_done_callback(_ABORTS.discard)

    async def _abort(self, rid: str) -> None:
        with contextlib.suppress(httpx.HTTPError):  # the engine is gone, and the request with it
            await self._http.post(f"{self.url}/abort_request", json={"rid": rid}, timeout=5.0)


class Gathered:
    """A stream of chat-completion chunks put together again into the body that a plain request would have had."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._finish: str | None = None
        self._usage: dict[str, Any] = {}

    def add(self, line: str) -> str:
        """Take one line of the event stream; return the text that it adds, often none. Raises `EngineNonsense`."""
        if not line.startswith("data:") or line.strip() == "data: [DONE]":
            return ""
        try:
            chunk = json.loads(line[5:])
            self._usage = chunk.get("usage") or self._usage
            piece = ""
            for choice in chunk.get("choices") or ():
                piece += mended(choice["delta"].get("content") or "")
                self._finish = choice.get("finish_reason") or self._finish
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise EngineNonsense(f"the engine streamed no chat completion: {line[:120]!r}") from error
        self._text.append(piece)
        return piece

    def body(self) -> dict[str, Any]:
        """The whole reply so far, as a chat-completion body."""
        choice = {"message": {"content": "".join(self._text)}, "finish_reason": self._finish}
        return {"choices": [choice], "usage": self._usage}


_ABORTS: set[asyncio.Future[None]] = set()  # asyncio keeps no reference to a running task


def backoff_s(attempt: int) -> float:
    """The seconds to wait after the failed try number `attempt` (from 0): doubling up to 8, with jitter."""
    return min(8.0, 0.25 * 2**attempt) * random.uniform(0.5, 1.5)


def overlaid(payload: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`payload` with `over` laid over it; None there takes a key away."""
    return {name: value for name, value in (payload | dict(over)).items() if value is not None}


def _wire(message: Message) -> dict[str, Any]:
    return {"role": message.role, "content": message.content}


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except (ValueError, RecursionError) as error:  # the latter: brackets by the thousand
        raise EngineNonsense(f"{response.url} answered no JSON: {response.text[:80]!r}") from error
    if not isinstance(body, dict):
        raise EngineNonsense(f"{response.url} answered {type(body).__name__} where an object was expected")
    return cast(dict[str, Any], body)


def _transport_error(error: httpx.HTTPError, url: str, timeout_s: float) -> EngineError:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return EngineUnreachable(f"no engine answers at {url}: is the server up, and the address right?")
    if isinstance(error, httpx.TimeoutException):
        return EngineTimeout(f"the engine at {url} gave no answer within {timeout_s:g} s")
    return EngineUnreachable(f"the connection to the engine at {url} broke: {type(error).__name__}")


def _error_of(response: httpx.Response, url: str) -> EngineError | InputError:
    """What a refusal means. The engine's own words may hold its file paths, so they are not passed on."""
    status, said = response.status_code, response.text
    if status in (429, 503):
        after = response.headers.get("retry-after", "")
        return EngineBusy(f"the engine at {url} is busy ({status})", retry_after_s=float(after) if after.isdigit() else None)
    if status in (400, 413, 422) and ("context length" in said or "maximum allowed length" in said):
        # "The input (N tokens) is longer than the ... context length (N tokens)", or "... of N tokens. You requested N tokens"
        counts = [int(found) for found in re.findall(r"(\d+) tokens", said)]
        stated = re.search(r"(?:context|allowed) length\D{0,12}(\d+)", said)
        count, limit = max(counts, default=0), int(stated.group(1)) if stated else 0
        return TooLong(
            f"the prompt and its reply take {count} tokens; the judge's context holds {limit}",
            field="max_tokens",
            count=count,
            limit=limit,
        )
    if status in (401, 403):
        return EngineError(f"the engine at {url} refused the key ({status})")
    if status in (400, 413, 422):
        return EngineRefused(f"the engine at {url} refused the request ({status})")
    if status in (404, 405):
        return EngineError(f"{response.url} is not there ({status}): is that the address of an OpenAI-compatible server?")
    return EngineError(f"the engine at {url} failed the request ({status})")


def completion_of(body: dict[str, Any], info: EngineInfo, ask: Ask, seconds: float = 0.0) -> Completion:
    """What a chat-completion body says that `info` wrote to `ask`. Raises `EngineError`, mostly `EngineNonsense`."""
    try:
        choice = body["choices"][0]
        if choice.get("finish_reason") == "abort":
            raise EngineError("the engine aborted the request")
        message = choice["message"]
        text = message.get("content") or ""  # none where a thought took all of the tokens, or a filter the rest
        # A server that parses reasoning hands the thought over separately; the judge's format wants it in place.
        if thought := message.get("reasoning_content") or message.get("reasoning"):  # vLLM renamed it
            text = f"{thought}</think>{text}"
        usage: dict[str, Any] = body.get("usage") or {}
        details: dict[str, Any] = usage.get("prompt_tokens_details") or {}
        return Completion(
            text=mended(text),
            finish_reason="length" if choice.get("finish_reason") == "length" else "stop",
            tokens=_tokens(choice.get("logprobs"), ask.temperature if info.sglang else 1.0),
            usage=Usage(
                prompt_tokens=_count(usage, "prompt_tokens"),
                completion_tokens=_count(usage, "completion_tokens"),
                cached_tokens=_count(details, "cached_tokens"),
                requests=1,
            ),
            seconds=seconds,
            model=info.model,
            weight_version=_served_version(body, info),
        )
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise EngineNonsense(f"the engine answered no chat completion: {str(body)[:120]}") from error


def _count(usage: dict[str, Any], what: str) -> int:
    return max(0, int(usage.get(what) or 0))


def _served_version(body: dict[str, Any], info: EngineInfo) -> str:
    """SGLang says in each answer which weights wrote it."""
    metadata: dict[str, Any] = body.get("metadata") or {}
    return str(metadata.get("weight_version", info.weight_version))


def _tokens(logprobs: dict[str, Any] | None, temperature: float) -> tuple[Token, ...] | None:
    """The last tokens with their alternatives. SGLang's log-probabilities are those after the temperature: scaled back here."""
    content = (logprobs or {}).get("content")
    if not content:
        return None
    scale = temperature or 1.0
    return tuple(
        Token(
            text=mended(entry["token"]),
            top={mended(each["token"]): scale * each["logprob"] for each in (*(entry.get("top_logprobs") or ()), entry)},
        )
        for entry in content[-TAIL_TOKENS:]
    )
