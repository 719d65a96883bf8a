"""Scoring before an engine that is slow, or away for a while: nothing is lost, with a gateway in front of it or without one."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from reasrm_serving.main import running
from reasrm_serving.settings import Settings

from reasrm.datasets import DataSet
from reasrm.errors import Refused
from reasrm.scoring import How, Job, JudgeAddress, Limiter, score
from reasrm.types import Options
from tests.failures.faulty_engine import Replies, misbehaving


def job_of(folder: Path, rows: int) -> Job:
    source = folder / "pairs.jsonl"
    source.write_text("".join(json.dumps({"question": f"q{i}?", "a": "right", "b": "wrong"}) + "\n" for i in range(rows)))
    return Job(DataSet(source), folder / "judged.jsonl", How(Options()), restart=True)


def rows_of(job: Job) -> list[dict[str, Any]]:
    return [json.loads(line) for line in job.output.read_text().splitlines()]


async def test_an_engine_with_two_slots_and_slow_replies_answers_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """llama.cpp on two cores, a hundred times as fast: 56 replies of 0.15 s in two slots, and 0.6 s for each request."""
    slots = threading.Semaphore(2)
    answer = Replies._good

    def slowly(self: Replies, body: dict[str, Any]) -> None:
        with slots:
            time.sleep(0.15)
        answer(self, body)

    monkeypatch.setattr(Replies, "_good", slowly)
    with misbehaving() as engine:
        job = job_of(tmp_path, 28)
        await score(job, JudgeAddress(engine=f"http://127.0.0.1:{engine.server_port}", timeout_s=0.6), quiet=True)
    assert [row["reason"] for row in rows_of(job)] == [None if row["winner"] else "split" for row in rows_of(job)]
    assert len(engine.judging) == 56, "no request was given up and repeated"


@pytest.mark.parametrize("through", ["engine", "gateway"])
async def test_an_outage_of_the_engine_is_waited_out_alike(through: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reasrm_serving.engines.pool.RETRIES", 0)
    with misbehaving() as engine:
        address = f"http://127.0.0.1:{engine.server_port}"
        with running(Settings.of(engine=address, cache="none", port=0, state_dir=tmp_path, refresh_s=0.1)) as url:
            where = JudgeAddress(engine=address) if through == "engine" else JudgeAddress(url=url)
            job = job_of(tmp_path, 30)
            engine.mode = "busy 503"
            run = asyncio.create_task(score(job, where, limiter=Limiter(patience_s=60), quiet=True))
            await asyncio.sleep(2.0)  # twice as long as rows were given up after
            assert not run.done()
            engine.mode = "good"
            await asyncio.wait_for(run, 60)
    assert not [row for row in rows_of(job) if row["reason"] in ("engine_failed", "deadline")]


@pytest.mark.parametrize("through", ["engine", "gateway"])
async def test_an_engine_that_stays_away_stops_the_run_alike_and_what_is_judged_is_kept(through: str, tmp_path: Path) -> None:
    with misbehaving() as engine:
        address = f"http://127.0.0.1:{engine.server_port}"
        with running(Settings.of(engine=address, cache="none", port=0, state_dir=tmp_path, refresh_s=0.1)) as url:
            where = JudgeAddress(engine=address) if through == "engine" else JudgeAddress(url=url)
            job = job_of(tmp_path, 200)
            run = asyncio.create_task(score(job, where, limiter=Limiter(4, patience_s=1.0), quiet=True))
            while len(engine.requests) < 40:
                await asyncio.sleep(0.005)
            engine.shutdown()
            engine.server_close()
            with pytest.raises(Refused, match=r"nothing was answered for .* rows are safe; run the same command again"):
                await asyncio.wait_for(run, 60)
    assert job.journal.exists()
