"""`Judge`: the asynchronous client of a gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypedDict, Unpack, cast

import httpx
import stamina

from reasrm.address import http_address, shown_address
from reasrm.client.options import (
    JudgeOptions,
    RankFields,
    RewardFields,
    Text,
    check_names,
    check_rank_fields,
    checked,
    encoded,
    judge_options,
    wire,
)
from reasrm.client.patience import Patience
from reasrm.client.responses import TooMany, connection_error, error_of, judgment_in, meaning, ranking_in, reading
from reasrm.errors import ConfigurationError, GatewayError, GatewayUnreachable, ReasrmError
from reasrm.failures import failed_judgment
from reasrm.judging.group import Rewarded
from reasrm.transport import tls
from reasrm.types import Judgment, Options, Pair, Ranking

BUSY_RETRIES = 6
PART = 1000  # pairs in one request of a batch; a gateway that takes fewer says how many


class JudgeSettings(TypedDict, total=False):
    """The settings of a `Judge` beside its address."""

    token: str | None
    timeout_s: float
    run: str | None
    connections: int
    busy_retries: int
    away_s: float
    ca_file: str | Path | None


class Judge:
    """A gateway at `url`; `token` is its API key. Use as an async context manager, or call `aclose`.

    429 is waited out as the gateway says (at most `busy_retries` times), so that a burst of this client's own requests loses
    nothing. A gateway that is away, or has no engine (502, 503), is asked again for `away_s` seconds from then on; a batch then
    repeats only its unfinished pairs. `ca_file` holds the certificates to trust (default: SSL_CERT_FILE, SSL_CERT_DIR, the
    machine's).
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
        ca_file: str | Path | None = None,
    ) -> None:
        self.url = http_address(url, "the gateway's", "url")
        self._timeout_s = timeout_s
        self._run = run
        self._busy_retries = busy_retries
        self._away_s = away_s
        self._part = PART
        self._http = httpx.AsyncClient(
            headers={"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {}),
            timeout=httpx.Timeout(timeout_s + 5.0, connect=5.0),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            verify=tls(self.url, ca_file),
            trust_env=False,
        )

    async def __aenter__(self) -> Judge:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def shown(self) -> str:
        """The address without its password."""
        return shown_address(self.url)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def judge(self, pair: Pair, options: Options) -> Judgment:
        """Judge `pair` (the `PairJudge` seam). A failure, also of the gateway, is a `NoVerdict`; mistakes raise `InputError`."""
        try:
            return await self.judge_or_raise(pair, options)
        except ReasrmError as error:
            return failed_judgment(error)

    async def judge_or_raise(self, pair: Pair, options: Options) -> Judgment:
        """Judge `pair`; a failure raises its own error, for callers that do their own retries."""
        body = pair.model_dump(mode="json", exclude_none=True) | options.model_dump(mode="json", exclude_unset=True)
        answer = await self._post("/v1/judge", body | self._envelope())
        return reading(answer, lambda: judgment_in(answer.json()))

    async def pair(
        self, question: Text, a: Text, b: Text, *, rubric: str | None = None, **options: Unpack[JudgeOptions]
    ) -> Judgment:
        """Judge responses `a` and `b` to `question`."""
        return await self.judge(checked(Pair.of, question, a, b, rubric), judge_options(options))

    async def pairs(self, pairs: Iterable[Pair], **options: Unpack[JudgeOptions]) -> AsyncIterator[tuple[int, Judgment]]:
        """Judge many pairs in as few requests as the gateway allows. Yields (index, judgment) in the order in which they finish."""
        shared = judge_options(options).model_dump(mode="json", exclude_unset=True) | self._envelope()
        left = {index: pair.model_dump(mode="json", exclude_none=True) for index, pair in enumerate(pairs)}
        patience = self._patience()
        while left:
            part = [*islice(left, self._part)]
            try:
                async for index, judgment in self._batch({"pairs": [left[index] for index in part], **shared}):
                    del left[part[index]]
                    patience = self._patience()
                    yield part[index], judgment
            except TooMany as refusal:
                self._part = max(1, min(refusal.limit, len(part) - 1))
            except GatewayError as error:
                pause = patience(error)  # not stamina: a retry sends only the pairs that have no judgment yet
                if pause is False:
                    raise
                await asyncio.sleep(pause)

    async def _batch(self, body: dict[str, Any]) -> AsyncIterator[tuple[int, Judgment]]:
        self._check_open()
        content = encoded(body)
        try:
            async with self._http.stream("POST", f"{self.url}/v1/judge/batch", content=content) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise error_of(response)
                missing = len(body["pairs"])
                async for line in response.aiter_lines():
                    yield reading(response, lambda line=line: _indexed(json.loads(line)))
                    missing -= 1
                if missing > 0:
                    raise GatewayUnreachable(f"the gateway at {self.shown} ended a batch without {missing} of its pairs")
        except httpx.HTTPError as error:
            raise connection_error(error, self.url) from error

    async def rank(self, question: Text, responses: Sequence[Text], **fields: Unpack[RankFields]) -> Ranking:
        """Rank 1 to 64 `responses` to one `question`."""
        check_rank_fields(fields)
        named = {name: wire(value) for name, value in fields.items()}
        body = {"question": wire(question), "responses": [wire(response) for response in responses], **named}
        answer = await self._post("/v1/rank", body | self._envelope())
        return reading(answer, lambda: ranking_in(answer.json()))

    async def reward(
        self, question: Text, response: Text, *, cohort: int, reference: Text | None = None, **fields: Unpack[RewardFields]
    ) -> Rewarded:
        """The reward of one rollout, once any callers have sent all `cohort` rollouts of its prompt, or after `wait_s` seconds."""
        check_names(fields, RewardFields.__annotations__)
        body = {"question": wire(question), "response": wire(response), "cohort": cohort, **fields, **self._envelope()}
        if reference is not None:
            body["reference"] = wire(reference)
        answer = await self._post("/v1/reward", body)
        return reading(answer, lambda: Rewarded.model_validate(answer.json()))

    async def models(self) -> list[dict[str, Any]]:
        """The model that the gateway serves."""
        answer = await self._get("/v1/models")
        return reading(answer, lambda: cast(list[dict[str, Any]], answer.json()["data"]))

    async def ready(self) -> bool:
        """Whether the gateway answers and has an engine that answers. Raises `ConfigurationError`."""
        try:
            await self._get("/readyz")
        except GatewayError:
            return False
        return True

    def _envelope(self) -> dict[str, Any]:
        return {"timeout_s": self._timeout_s} | ({"run": self._run} if self._run else {})

    def _patience(self) -> Patience:
        return Patience(self._busy_retries, self._away_s)

    async def _post(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        """The body of the answer with status 200. Any other answer raises the error that it means, after the allowed retries."""
        content = encoded(body)
        async for attempt in stamina.retry_context(on=self._patience(), attempts=None, timeout=None):
            with attempt:
                return await self._once("POST", path, content)
        raise AssertionError("the last attempt returns or raises")

    async def _get(self, path: str) -> httpx.Response:
        return await self._once("GET", path, None)

    async def _once(self, method: str, path: str, content: bytes | None) -> httpx.Response:
        self._check_open()
        try:
            response = await self._http.request(method, self.url + path, content=content)
        except httpx.HTTPError as error:
            raise connection_error(error, self.url) from error
        if response.status_code != 200:
            raise error_of(response)
        return response

    def _check_open(self) -> None:
        if self._http.is_closed:
            raise ConfigurationError("this judge is closed: make another one")


def _indexed(entry: dict[str, Any]) -> tuple[int, Judgment]:
    """A line of a batch, with the index of its pair. Raises what its `error` means, where it has one."""
    if "error" in entry:
        raise meaning(entry["error"])
    return int(entry.pop("index")), judgment_in(entry)
