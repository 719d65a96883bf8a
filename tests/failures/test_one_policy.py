"""One table of failures, run through every way of judging: all give the same reason, or raise the same kind of error.

    what goes wrong               what every way of judging tells
    no connection                 engine_failed
    busy (503, 429)               engine_failed
    no answer in time             deadline
    the connection is cut         engine_failed   (a stream without its end is no reply, whatever it holds)
    an error inside the reply     engine_failed   (under a 200, plain or streamed)
    garbage                       engine_failed
    the engine refuses (400)      refused_by_engine
    the prompt is too long        too_long
    wrong key, wrong model        raises ConfigurationError
    redirect, plain HTTP as https raises ConfigurationError
    certificate not trusted       raises ConfigurationError

The ways: the library (`EngineJudge` over `HttpEngine`), its streams, its ranking and its audit; `reasrm score` before an engine and
before a gateway; the gateway's routes for one pair, a batch, a stream and a group; a reward function.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trustme
from reasrm_serving.main import running
from reasrm_serving.settings import Settings

from reasrm.audit import audit
from reasrm.client import Judge
from reasrm.client.responses import meaning
from reasrm.datasets import DataSet, Example
from reasrm.engine import HttpEngine
from reasrm.errors import Refused
from reasrm.failures import reason_of
from reasrm.judging import EngineJudge
from reasrm.judging.group import Group, RankOptions
from reasrm.judging.ranking import rank
from reasrm.prompts import load_pack
from reasrm.rewards.trl import judge_reward
from reasrm.scoring import How, Job, JudgeAddress, Limiter, score
from reasrm.types import Ask, Completion, Judgment, NoVerdict, Options, Pair, PairJudge, Ranking
from tests.failures.faulty_engine import Engine, misbehaving

PAIR = Pair.of("What is 17 + 25?", "42", "43")
#: A run that stops says that nothing was answered: every judged row is safe, and no row has an invented verdict.
STOPS = "the run stops"


@dataclass(frozen=True)
class Case:
    """`mode` of the engine, and the `outcome` that every way must report."""

    mode: str
    outcome: str


CASES = [
    Case("no connection", "engine_failed"),
    Case("busy 503", "engine_failed"),
    Case("busy 429", "engine_failed"),
    Case("timeout", "deadline"),
    Case("cut", "engine_failed"),
    Case("error inside", "engine_failed"),
    Case("garbage", "engine_failed"),
    Case("forbidden", "refused_by_engine"),
    Case("too long", "too_long"),
    Case("wrong key", "ConfigurationError"),
    Case("wrong model", "ConfigurationError"),
    Case("redirect", "ConfigurationError"),
    Case("plain http as https", "ConfigurationError"),
    Case("untrusted certificate", "ConfigurationError"),
]


@dataclass(frozen=True)
class Place:
    """The address of the engine, and a folder for files, for a way of judging."""

    engine: str
    folder: Path
    timeout_s: float

    def judge(self) -> EngineJudge:
        return EngineJudge(
            HttpEngine(self.engine, api_key="the-key", retries=0, timeout_s=self.timeout_s), load_pack("rubric"), b"k"
        )

    @contextmanager
    def gateway(self) -> Iterator[str]:
        settings = Settings.of(
            engine=self.engine,
            engine_key="the-key",
            cache="none",
            port=0,
            state_dir=self.folder,
            refresh_s=0.2,
            timeout_s=self.timeout_s,
        )
        with running(settings) as url:
            yield url


def outcome_of(judgment: Judgment) -> str:
    return judgment.outcome.reason if isinstance(judgment.outcome, NoVerdict) else "a verdict"


def ranked(ranking: Ranking) -> str:
    """The one outcome of all comparisons."""
    (outcome,) = {outcome_of(comparison.judgment) for comparison in ranking.comparisons}
    return outcome


async def through_library(place: Place) -> str:
    return outcome_of(await place.judge().judge(PAIR, Options()))


class Streaming:
    """A `Completer` that streams."""

    def __init__(self, engine: HttpEngine) -> None:
        self._engine = engine

    async def complete(self, ask: Ask) -> Completion:
        *_, last = [part async for part in self._engine.stream(ask)]
        assert isinstance(last, Completion)
        return last


async def through_stream_of_library(place: Place) -> str:
    judge = EngineJudge(Streaming(HttpEngine(place.engine, retries=0, timeout_s=place.timeout_s)), load_pack("rubric"), b"k")
    return outcome_of(await judge.judge(PAIR, Options()))


async def through_ranking(place: Place) -> str:
    group = Group.model_validate({"question": "What is 17 + 25?", "responses": ["42", "43", "44"]})
    return ranked(await rank(group, RankOptions(method="all_pairs"), place.judge()))


class Noting:
    """Notes the judgments of a judge for callers that do not return them."""

    def __init__(self, judge: PairJudge) -> None:
        self._judge, self.outcomes = judge, set[str]()

    async def judge(self, pair: Pair, options: Options) -> Judgment:
        judgment = await self._judge.judge(pair, options)
        self.outcomes.add(outcome_of(judgment))
        return judgment


async def through_audit(place: Place) -> str:
    judge = Noting(place.judge())
    example = Example.model_validate({"id": "1", "question": "q?", "responses": ["right", "wrong"], "labels": (1.0, 0.0)})
    findings = await audit([example], judge, Options(), report=lambda _: None)
    (verdicts,) = [finding for finding in findings if finding.test == "gives a verdict"]
    assert verdicts.value == 0.0
    (outcome,) = judge.outcomes
    return outcome


async def scored(place: Place, address: JudgeAddress) -> str:
    source = place.folder / "pairs.jsonl"
    source.write_text(json.dumps({"question": "q?", "a": "right", "b": "wrong"}) + "\n")
    output = place.folder / "judged.jsonl"
    job = Job(DataSet(source), output, How(Options()), restart=True)
    try:
        await score(job, address, limiter=Limiter(2, patience_s=0.2), quiet=True)
    except Refused as stop:
        return STOPS if "nothing was answered" in str(stop) else str(stop)
    row = json.loads(output.read_text())
    assert not row["error"]
    return row["reason"] or "a verdict"


async def through_scoring_with_engine(place: Place) -> str:
    return await scored(place, JudgeAddress(engine=place.engine, token="the-key", timeout_s=place.timeout_s))


async def through_scoring_with_gateway(place: Place) -> str:
    with place.gateway() as url:
        return await scored(place, JudgeAddress(url=url, timeout_s=place.timeout_s))


async def through_gateway(place: Place) -> str:
    with place.gateway() as url:
        async with Judge(url) as judge:
            return outcome_of(await judge.judge(PAIR, Options()))


async def through_batch(place: Place) -> str:
    with place.gateway() as url:
        async with Judge(url) as judge:
            (outcome,) = {outcome_of(judgment) async for _, judgment in judge.pairs([PAIR, PAIR.swapped()])}
            return outcome


async def through_stream(place: Place) -> str:
    with place.gateway() as url:
        body = {"question": "What is 17 + 25?", "a": "42", "b": "43"}
        async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
            answer = await http.post(f"{url}/v1/judge/stream", json=body)
    if answer.status_code != 200:
        raise meaning(answer.json()["error"], answer.status_code)
    event, data = answer.text.strip().rsplit("\n\n", 1)[-1].split("\n")
    assert event == "event: error", answer.text
    raise meaning(json.loads(data.removeprefix("data: "))["error"])


async def through_group(place: Place) -> str:
    with place.gateway() as url:
        async with Judge(url) as judge:
            return ranked(await judge.rank("What is 17 + 25?", ["42", "43", "44"]))


async def through_reward(place: Place) -> str:
    metrics: dict[str, float] = {}
    with place.gateway() as url:
        rewards = await judge_reward(["q?"] * 2, ["right", "wrong"], url=url, log_metric=metrics.__setitem__)
    assert rewards == [None, None]
    (reason,) = [name.removeprefix("judge/no_verdict/") for name in metrics if name.startswith("judge/no_verdict/")]
    return reason


WAYS: list[Callable[[Place], Awaitable[str]]] = [
    through_library,
    through_stream_of_library,
    through_ranking,
    through_audit,
    through_scoring_with_engine,
    through_scoring_with_gateway,
    through_gateway,
    through_batch,
    through_stream,
    through_group,
    through_reward,
]


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """No retries with pauses, and no open circuit, which are tested elsewhere: each way must report the first failure."""
    monkeypatch.setattr("reasrm_serving.engines.pool.RETRIES", 0)
    monkeypatch.setattr("reasrm_serving.engines.member.TRIPS", 10**6)
    monkeypatch.setattr("reasrm_serving.judging.ranking.FIRST_PAUSE_S", 1000.0)


@contextmanager
def engine_in(mode: str) -> Iterator[tuple[Engine, str]]:
    """The misbehaving engine and its address."""
    if mode == "untrusted certificate":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        with misbehaving(context=context) as engine:
            yield engine, f"https://127.0.0.1:{engine.server_port}"
    elif mode == "plain http as https":
        with misbehaving() as engine:
            yield engine, f"https://127.0.0.1:{engine.server_port}"
    elif mode == "no connection":
        with misbehaving() as engine:
            port = engine.server_port
        yield engine, f"http://127.0.0.1:{port}"
    else:
        with misbehaving(mode) as engine:
            yield engine, f"http://127.0.0.1:{engine.server_port}"


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.removeprefix("through_"))
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.mode.replace(" ", "-"))
async def test_every_way_of_judging_reports_a_failure_alike(
    case: Case, way: Callable[[Place], Awaitable[str]], tmp_path: Path
) -> None:
    with engine_in(case.mode) as (engine, url):
        place = Place(url, tmp_path, timeout_s=0.4 if case.mode == "timeout" else 20.0)
        try:
            outcome = await asyncio.wait_for(way(place), 60)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is compared with the table
            outcome = reason_of(error) or type(error).__name__
        engine.over.set()
    transient = case.outcome in ("engine_failed", "deadline")
    allowed = {case.outcome, STOPS} if transient and "scoring" in way.__name__ else {case.outcome}
    assert outcome in allowed
