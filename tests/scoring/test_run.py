"""A run may be killed at any point and started again: the output has the same bytes, and nothing is judged twice."""

from __future__ import annotations

import json
import multiprocessing
import random
import signal
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from reasrm.datasets import DataSet
from reasrm.errors import InputError, Refused, SchemaError
from reasrm.results import Scored
from reasrm.scoring import Connected, How, Job, Limiter, score_with
from reasrm.scoring.by_question import together
from reasrm.scoring.run import FAILURES
from reasrm.testing import FixedJudge
from reasrm.types import Judgment, NoVerdict, Options, Pair, Usage, Verdict
from tests.scoring.scripted_run import HashJudge, score_by_hash


def write(path: Path, rows: int, **change: Any) -> Path:
    with path.open("w") as file:
        for i in range(rows):
            row = {"id": f"id{i}", "question": f"q{i % 50}?", "a": f"first {i}", "b": f"second {i} “x”", "winner": "AB"[i % 2]}
            file.write(json.dumps(row | change) + "\n")
    return path


def test_twenty_kills_at_random_points_change_no_byte(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", 1200)
    with source.open("a") as file:
        file.write('{"question": "q", "a": null, "b": "x"}\n')
    expected = tmp_path / "expected.jsonl"
    score_by_hash(source, expected)
    output = tmp_path / "out.jsonl"
    journal = tmp_path / "out.jsonl.journal"
    rng = random.Random(5)
    size = expected.stat().st_size
    at = sorted(rng.uniform(0.0, 1.05) * size for _ in range(20))
    killed = 0
    for point in at:
        process = multiprocessing.get_context("fork").Process(target=score_by_hash, args=(source, output, 0.002))
        process.start()
        while process.is_alive():
            written = journal.stat().st_size if journal.exists() else 0
            if written >= point:
                process.kill()
                break
            time.sleep(0.0005)
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        if output.exists():
            break
    assert killed >= 12
    if not output.exists():
        score_by_hash(source, output)
    assert output.read_bytes() == expected.read_bytes()
    assert not journal.exists()


def test_a_run_that_goes_on_judges_nothing_twice(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", 200)

    class Stops(HashJudge):
        async def judge(self, pair: Pair, options: Options) -> Judgment:
            if len(self.judged) >= 80:
                raise Refused("enough for today")
            return await super().judge(pair, options)

    import asyncio

    first = Stops()
    job = Job(DataSet(source), tmp_path / "out.jsonl", How(Options()))
    with pytest.raises(Refused, match=r"enough for today. 8\d rows are safe; run the same command again|enough for today. 80 rows"):
        asyncio.run(score_with(job, Connected(first, {"model": "hash"}), limiter=Limiter(8), quiet=True))
    assert not (tmp_path / "out.jsonl").exists()
    second = score_by_hash(source, tmp_path / "out.jsonl")
    assert len(first.judged) == 80
    assert len(second.judged) == 120


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_the_output_has_a_row_for_every_input_row_in_order(tmp_path: Path, suffix: str) -> None:
    source = write(tmp_path / "in.jsonl", 120)
    with source.open("a") as file:
        file.write('{"id": "bad", "question": "q", "a": null, "b": "x"}\nnot json\n')
    output = tmp_path / f"out{suffix}"
    score_by_hash(source, output, 0.001)
    rows = (
        pq.read_table(output).to_pylist()
        if suffix == ".parquet"
        else [json.loads(line) for line in output.read_text().splitlines()]
    )
    assert [row["index"] for row in rows] == list(range(122))
    assert [row["id"] for row in rows[:3]] == ["id0", "id1", "id2"]
    assert rows[120]["error"] == "a is null"
    assert "not JSON" in rows[121]["error"]
    assert sum(row["winner"] is None for row in rows) == 2 + sum(row["reason"] == "no_answer" for row in rows)
    scored = [Scored.read(row) for row in rows]
    assert all(row.only is None or row.only.games[0].reply.startswith("because") for row in scored)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.jsonl", f"out{suffix}"])


def test_equal_runs_give_equal_parquet_bytes(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", 300)
    for name in ("a", "b"):
        score_by_hash(source, tmp_path / f"{name}.parquet", 0.0005)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_an_output_that_exists_is_refused_unless_replaced(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", 3)
    score_by_hash(source, tmp_path / "out.jsonl")
    with pytest.raises(Refused, match=r"exists; give another name, or replace it with --restart"):
        score_by_hash(source, tmp_path / "out.jsonl")
    score_by_hash(source, tmp_path / "out.jsonl", restart=True)


def test_a_changed_input_is_noticed_and_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", 40)

    class Stops(HashJudge):
        async def judge(self, pair: Pair, options: Options) -> Judgment:
            if len(self.judged) >= 10:
                raise Refused("stop")
            return await super().judge(pair, options)

    import asyncio

    job = Job(DataSet(source), tmp_path / "out.jsonl", How(Options()))
    with pytest.raises(Refused, match="stop"):
        asyncio.run(score_with(job, Connected(Stops(), {"model": "hash"}), limiter=Limiter(4), quiet=True))
    write(source, 40, a="other")
    with pytest.raises(Refused, match=r"input was .* and is .*--restart"):
        score_by_hash(source, tmp_path / "out.jsonl")
    other = Job(DataSet(write(source, 40)), tmp_path / "out.jsonl", How(Options()))
    with pytest.raises(Refused, match=r"judge was .*hash.* and is .*other"):
        asyncio.run(score_with(other, Connected(HashJudge(), {"model": "other"}), limiter=Limiter(4), quiet=True))
    score_by_hash(source, tmp_path / "out.jsonl", restart=True)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("out.txt", "ends in .jsonl or .parquet"),
        ("missing/out.jsonl", "no such folder to write to"),
        ("folder.jsonl", "is a folder"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_anything_is_judged(tmp_path: Path, output: str, message: str) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    source = write(tmp_path / "in.jsonl", 3)
    with pytest.raises(InputError, match=message):
        score_by_hash(source, tmp_path / output)


def test_fail_fast_stops_at_a_bad_row_before_any_judgment(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", 5)
    with source.open("a") as file:
        file.write('{"question": "q", "a": null, "b": "x"}\n')
    with pytest.raises(InputError, match=r"in.jsonl, row 6: a is null"):
        score_by_hash(source, tmp_path / "out.jsonl", fail_fast=True)
    assert not (tmp_path / "out.jsonl.journal").exists()


def test_a_file_of_an_unknown_schema_is_refused_before_anything_is_judged(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"x": 1}\n')
    with pytest.raises(SchemaError, match="fit no schema"):
        score_by_hash(tmp_path / "in.jsonl", tmp_path / "out.jsonl")


class Fails:
    """Fails for `broken` questions through a fault of the engine."""

    def __init__(self, broken: set[str]) -> None:
        self._broken = broken

    async def judge(self, pair: Pair, options: Options) -> Judgment:
        if pair.question[-1].content in self._broken:
            return Judgment(outcome=NoVerdict(reason="engine_failed", detail="500"))
        return await FixedJudge(lambda _: 0.8).judge(pair, options)


async def test_rows_the_engine_fails_while_it_works_for_others_are_rows_with_that_reason(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", 100)
    job = Job(DataSet(source), tmp_path / "out.jsonl", How(Options()))
    tally = await score_with(job, Connected(Fails({"q7?", "q49?"}), {}), limiter=Limiter(4), quiet=True)
    assert tally.reasons == {"engine_failed": 4}


async def test_an_engine_that_fails_everyone_stops_the_run_and_its_failures_are_not_kept(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", 100)
    job = Job(DataSet(source), tmp_path / "out.jsonl", How(Options()))
    everything = {f"q{i}?" for i in range(50)}
    with pytest.raises(Refused, match=f"the last {FAILURES} rows all failed"):
        await score_with(job, Connected(Fails(everything), {}), limiter=Limiter(4), quiet=True)
    tally = await score_with(job, Connected(Fails(set()), {}), limiter=Limiter(4), quiet=True)
    assert (tally.rows, tally.reasons) == (100, {})


def test_rows_that_share_a_question_go_out_together(tmp_path: Path) -> None:
    data = DataSet(write(tmp_path / "in.jsonl", 120))
    questions = [entry.row["question"] for entry in together(data)]
    assert questions == sorted(questions, key=lambda question: int(question[1:-1]))
    assert sorted(entry.index for entry in together(data)) == list(range(120))


def test_reading_ahead_is_bounded_in_rows_and_in_size(tmp_path: Path) -> None:
    data = DataSet(write(tmp_path / "in.jsonl", 120))
    held = 0

    def watched():
        nonlocal held
        for entry in data:
            held += 1
            yield entry

    for released, _ in enumerate(together(watched(), rows=10), 1):
        assert held - released < 10
    held = 0
    for released, _ in enumerate(together(watched(), limit=100), 1):
        assert held - released < 12


def test_progress_lines_come_once_per_minute_and_at_the_end(tmp_path: Path) -> None:
    from reasrm.scoring.progress import Progress

    messages: list[str] = []
    row = Scored(index=0, file="f", row=1, id="1", prompt_tokens=7)
    with Progress(10, 4, say=messages.append, every_s=0.0) as progress:
        for _ in range(6):
            progress.add(row, in_flight=3)
    assert len(messages) == 7
    assert messages[0].startswith("5 of 10 rows (50 %), ")
    assert "left; 7 tokens" in messages[0]
    assert "3 in flight" in messages[0]
    assert messages[-1].startswith("10 of 10 rows (100 %)")


def test_a_slow_run_says_with_its_first_row_how_long_things_take(monkeypatch: pytest.MonkeyPatch) -> None:
    from reasrm.scoring import progress
    from reasrm.scoring.pace import Pace

    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    pace, messages = Pace(), list[str]()
    verdict = Verdict(winner="A", probability_a=0.9, source="votes")
    with progress.Progress(28, say=messages.append, pace=pace) as shown:
        for _ in range(2):
            now += 40.0
            pace.add(Judgment(outcome=verdict, seconds=40.0, usage=Usage(requests=1)))
            shown.add(Scored(index=0, file="f", row=1, id="1"), in_flight=3)
        assert len(messages) == 1
    assert messages[0].startswith("1 of 28 rows (4 %), 40 s per row, 0:18:00 left;")
    assert messages[0].endswith("3 in flight, one judgment takes about 40 s here")


async def test_the_pace_is_that_of_judgments_that_were_made_and_is_said_once() -> None:
    from reasrm.scoring.pace import PacedJudge

    verdict = Verdict(winner="A", probability_a=0.9, source="votes")
    answers = [Judgment(outcome=verdict, seconds=99.0, cached=True, usage=Usage(requests=2))]
    answers += [Judgment(outcome=verdict, seconds=seconds, usage=Usage(requests=2)) for seconds in (30.0, 40.0)]

    class Slow:
        async def judge(self, pair: Pair, options: Options) -> Judgment:
            return answers.pop(0)

    said: list[str] = []
    judge = PacedJudge(Slow(), tell=said.append)
    for _ in range(3):
        await judge.judge(Pair.of("q", "a", "b"), Options())
    assert said == ["one judgment takes about 30 s here"]
    assert judge.pace.seconds == pytest.approx(32.0)


def test_the_survey_names_bad_rows_and_repeated_ids(tmp_path: Path) -> None:
    import asyncio

    source = write(tmp_path / "in.jsonl", 3, id="same")
    with source.open("a") as file:
        file.write('{"question": "q", "a": null, "b": "x"}\n')
    messages: list[str] = []
    job = Job(DataSet(source), tmp_path / "out.jsonl", How(Options()))
    asyncio.run(score_with(job, Connected(HashJudge(), {}), limiter=Limiter(), say=messages.append))
    assert messages[0] == "4 rows of schema pair"
    assert messages[1].startswith("read: question from question; responses from a and b")
    assert "1 of them cannot be judged, the first is" in messages[2]
    assert "row 4: a is null" in messages[2]
    assert "2 ids came before, the first is" in messages[3]
