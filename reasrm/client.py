"""The judge over HTTP: `Judge` is async, `SyncJudge` the same without. Both speak to a reasrm gateway.

A failed judgment is a `Judgment` whose outcome is a `NoVerdict`; what raises is a gateway that is away, refuses the request, or
has no room (`GatewayError`, with its HTTP status).
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from threading import Thread
from typing import Any, TypeVar, cast

import httpx
from pydantic import ValidationError

from reasrm.address import http_address
from reasrm.errors import GatewayError, GatewayUnreachable, InputError
from reasrm.judging.group import Rewarded
from reasrm.types import Judgment, Message, NoVerdict, Options, Pair, Ranking

T = TypeVar("T")
#: A text, or messages as mappings or as `Message`s.
Text = str | Sequence[Mapping[str, Any]] | Sequence[Message]
BUSY_RETRIES = 6


def checked(make: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call `make`; a pydantic error becomes an `InputError` in one line that names the field."""
    try:
        return make(*args, **kwargs)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or None
        raise InputError(f"{field or 'input'}: {first['msg'].removeprefix('Value error, ')}", field=field) from error


def encoded(body: Mapping[str, Any]) -> bytes:
    """`body` as JSON in UTF-8. Raises `InputError` for text that is no Unicode: bytes of the command line, a cut character."""
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError as error:
        half = ord(error.object[error.start])
        raise InputError(f"a text is no Unicode (it holds U+{half:04X}, half of a surrogate pair)") from None


class Judge:
    """A gateway at `url`; `token` is its API key. Use as an async context manager, or call `aclose`.

    429 is waited out as the gateway says (at most `busy_retries` times), so that a burst of one's own loses nothing. A gateway that
    is away, or has no engine (502, 503), is asked again for `away_s` seconds from then on; of many pairs those that are left.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_s: float = 300.0,
        run: str | None = None,
        connections: int = 256,
        busy_retries: int = BUSY_RETRIES,
        away_s: float = 0.0,
    ) -> None:
        self.url = http_address(url, "the gateway's", "url")
        self._timeout_s = timeout_s
        self._run = run
        self._busy_retries = busy_retries
        self._away_s = away_s
        self._http = httpx.AsyncClient(
            headers={"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {}),
            timeout=httpx.Timeout(timeout_s + 5.0, connect=5.0),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=False,
        )

    async def __aenter__(self) -> Judge:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def judge(self, pair: Pair, options: Options) -> Judgment:
        """Judge `pair` (the `PairJudge` seam). An engine's failure (503, 504) is a `NoVerdict`; raises `GatewayError` otherwise."""
        body = pair.model_dump(mode="json", exclude_none=True) | options.model_dump(mode="json", exclude_unset=True)
        return _judgment(await self._post("/v1/judge", body | self._envelope()))

    async def pair(self, question: Text, a: Text, b: Text, *, rubric: str | None = None, **options: Any) -> Judgment:
        """Judge responses `a` and `b` to `question`; `options` are the fields of `Options`."""
        return await self.judge(checked(Pair.of, question, a, b, rubric), checked(Options, **options))

    async def pairs(self, pairs: Iterable[Pair], **options: Any) -> AsyncIterator[tuple[int, Judgment]]:
        """Judge many in one request; yield (index, judgment) in the order in which they finish."""
        shared = checked(Options, **options).model_dump(mode="json", exclude_unset=True)
        left = {index: pair.model_dump(mode="json", exclude_none=True) for index, pair in enumerate(pairs)}
        patience = _Patience(self._busy_retries, self._away_s)
        while left:
            content = encoded({"pairs": [*left.values()], **shared, **self._envelope()})
            try:
                async with self._http.stream("POST", f"{self.url}/v1/judge/batch", content=content) as response:
                    if response.status_code == 200:
                        sent = [*left]
                        async for line in response.aiter_lines():
                            index, judgment = _read(response, lambda line=line, sent=sent: _indexed(json.loads(line), sent))
                            del left[index]
                            patience = _Patience(self._busy_retries, self._away_s)
                            yield index, judgment
                        return
                    await response.aread()
            except httpx.HTTPError as error:
                if not await patience.after(error):
                    raise _unreachable(self.url, error) from error
            else:
                if not await patience.after(response):
                    raise _refusal(response)

    async def rank(self, question: Text, responses: Sequence[Text], **options: Any) -> Ranking:
        """Rank 1 to 64 `responses` to one `question`; `options` are the fields of the gateway's `POST /v1/rank`."""
        body = {
            "question": _wire(question),
            "responses": [_wire(response) for response in responses],
            **options,
            **self._envelope(),
        }
        answer = await self._post("/v1/rank", body)
        if answer.status_code != 200:
            raise _refusal(answer)
        return _read(answer, lambda: Ranking.model_validate(_known(Ranking, answer.json())))

    async def reward(
        self, question: Text, response: Text, *, cohort: int, reference: Text | None = None, **options: Any
    ) -> Rewarded:
        """The reward of one rollout, once all `cohort` rollouts of its prompt have been sent, by anybody, or `wait_s` are over.

        `options` are the fields of the gateway's `POST /v1/reward`: `run`, `wait_s`, `method`, `orders`.
        """
        body = {"question": _wire(question), "response": _wire(response), "cohort": cohort, **options, **self._envelope()}
        if reference is not None:
            body["reference"] = _wire(reference)
        answer = await self._post("/v1/reward", body)
        if answer.status_code != 200:
            raise _refusal(answer)
        return _read(answer, lambda: Rewarded.model_validate(answer.json()))

    async def models(self) -> list[dict[str, Any]]:
        """What the gateway serves."""
        try:
            response = await self._http.get(f"{self.url}/v1/models")
        except httpx.HTTPError as error:
            raise _unreachable(self.url, error) from error
        if response.status_code != 200:
            raise _refusal(response)
        return _read(response, lambda: cast(list[dict[str, Any]], response.json()["data"]))

    def _envelope(self) -> dict[str, Any]:
        return {"timeout_s": self._timeout_s} | ({"run": self._run} if self._run else {})

    async def _post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        content, patience = encoded(body), _Patience(self._busy_retries, self._away_s)
        while True:
            try:
                response = await self._http.post(self.url + path, content=content)
            except httpx.HTTPError as error:
                if not await patience.after(error):
                    raise _unreachable(self.url, error) from error
            else:
                if not await patience.after(response):
                    return response


class _Patience:
    """How often a busy gateway is asked again, and for how many seconds one that is away, from when it was first seen to be."""

    def __init__(self, busy_retries: int, away_s: float) -> None:
        self._busy_left, self._away_s = busy_retries, away_s
        self._until: float | None = None

    async def after(self, said: httpx.Response | httpx.HTTPError) -> bool:
        """Whether to ask again, once a pause is over."""
        if isinstance(said, httpx.Response) and said.status_code == 429:
            self._busy_left -= 1
            pause_s = _pause_s(said)
            again = self._busy_left >= 0
        else:
            pause_s = random.uniform(0.5, 1.5)
            self._until = self._until or time.monotonic() + self._away_s
            again = _is_away(said) and time.monotonic() + pause_s <= self._until
        if again:
            await asyncio.sleep(pause_s)
        return again


def _is_away(said: httpx.Response | httpx.HTTPError) -> bool:
    """Whether that is what a gateway says that is being restarted, or whose engine is; one that took too long is not away."""
    if isinstance(said, httpx.Response):
        return said.status_code in (502, 503)
    return not isinstance(said, httpx.ReadTimeout)


class SyncJudge:
    """`Judge` without async, for scripts and notebooks (a running event loop is no hindrance). Use as a context manager."""

    def __init__(self, url: str, **settings: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="reasrm-judge", daemon=True)
        self._thread.start()
        try:
            self._judge = Judge(url, **settings)
        except InputError:
            self._stop()
            raise

    def __enter__(self) -> SyncJudge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._wait(self._judge.aclose())
        self._stop()

    def judge(self, pair: Pair, options: Options) -> Judgment:
        """See `Judge.judge`."""
        return self._wait(self._judge.judge(pair, options))

    def pair(self, question: Text, a: Text, b: Text, *, rubric: str | None = None, **options: Any) -> Judgment:
        """See `Judge.pair`."""
        return self._wait(self._judge.pair(question, a, b, rubric=rubric, **options))

    def pairs(self, pairs: Iterable[Pair], **options: Any) -> list[Judgment]:
        """Judge many; the judgments come in the pairs' order."""

        async def gather() -> list[Judgment]:
            return [judgment for _, judgment in sorted([item async for item in self._judge.pairs(pairs, **options)], key=_index)]

        return self._wait(gather())

    def rank(self, question: Text, responses: Sequence[Text], **options: Any) -> Ranking:
        """See `Judge.rank`."""
        return self._wait(self._judge.rank(question, responses, **options))

    def reward(self, question: Text, response: Text, *, cohort: int, reference: Text | None = None, **options: Any) -> Rewarded:
        """See `Judge.reward`."""
        return self._wait(self._judge.reward(question, response, cohort=cohort, reference=reference, **options))

    def models(self) -> list[dict[str, Any]]:
        """See `Judge.models`."""
        return self._wait(self._judge.models())

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _index(item: tuple[int, Judgment]) -> int:
    return item[0]


def _wire(text: Text) -> Any:
    if isinstance(text, str):
        return text
    return [message.model_dump(mode="json", exclude_none=True) if isinstance(message, Message) else message for message in text]


def _known(model: type[Judgment] | type[Ranking], body: dict[str, Any]) -> dict[str, Any]:
    """`body` without the derived fields that the gateway adds for readers of the bare JSON."""
    return {name: value for name, value in body.items() if name in model.model_fields}


def _read(response: httpx.Response, read: Callable[[], T]) -> T:
    """What `read` makes of the answer. Raises `GatewayError` where that is no gateway's."""
    try:
        return read()
    except (ValueError, TypeError, LookupError, AttributeError) as error:  # pydantic's error is a ValueError
        why = f"{response.url} answered, but not as a reasrm gateway of this version does: is that its address?"
        raise GatewayError(why, status=response.status_code) from error


def _read_judgment(body: dict[str, Any]) -> Judgment:
    return Judgment.model_validate(_known(Judgment, body))


def _indexed(entry: dict[str, Any], sent: Sequence[int]) -> tuple[int, Judgment]:
    """A line of a batch, with the index of its pair among those that were `sent`."""
    return sent[int(entry.pop("index"))], _read_judgment(entry)


def _judgment(response: httpx.Response) -> Judgment:
    if response.status_code == 200:
        return _read(response, lambda: _read_judgment(response.json()))
    if response.status_code == 504:
        return Judgment(outcome=NoVerdict(reason="deadline", detail=_message(response)))
    if response.status_code in (502, 503):
        return Judgment(outcome=NoVerdict(reason="engine_failed", detail=_message(response)))
    raise _refusal(response)


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"{response.url} answered {response.status_code}"


def _refusal(response: httpx.Response) -> GatewayError | InputError:
    if response.status_code in (400, 413, 422):
        return InputError(_message(response))
    if response.status_code == 401:
        return GatewayError(f"{_message(response)} (--token or $REASRM_TOKEN; in Python token=...)", status=401)
    if response.status_code in (404, 405):
        why = f"{response.url} is not there ({response.status_code}): give the gateway's address alone, as http://HOST:PORT"
        return GatewayError(why, status=response.status_code)
    return GatewayError(_message(response), status=response.status_code, retry_after_s=_after_s(response))


def _after_s(response: httpx.Response) -> float | None:
    """The seconds of Retry-After, where it says seconds (a proxy may say a date)."""
    after = response.headers.get("retry-after", "")
    return float(after) if after.isdigit() else None


def _pause_s(response: httpx.Response) -> float:
    return min(30.0, _after_s(response) or 1.0)


def _unreachable(url: str, error: httpx.HTTPError) -> GatewayError:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return GatewayUnreachable(f"no gateway answers at {url}: start one with `reasrm serve`, or check the address")
    return GatewayUnreachable(f"the connection to the gateway at {url} broke: {type(error).__name__}")
