"""The commands from end to end, on a real SGLang: score, stop, continue, evaluate, report."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from reasrm.results import Scored
from tests.components import ROOT, Gateway, Sglang

REASRM = Path(sys.executable).parent / "reasrm"
FAST = ["--max-tokens", "24", "--timeout", "100"]


def reasrm(*arguments: object, check: int | None = 0, timeout: float = 110) -> subprocess.CompletedProcess[str]:
    command, environ = [REASRM, *map(str, arguments)], os.environ | {"COLUMNS": "132"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, env=environ)
    if check is not None:
        assert done.returncode == check, done.stderr
    return done


def some_of(file: Path, folder: Path, rows: int) -> Path:
    """The first `rows` rows of a published file, with texts short enough for the tests' model."""
    folder.mkdir(parents=True, exist_ok=True)
    short = sorted(json.loads(file.read_text()), key=lambda row: len(json.dumps(row)))[:rows]
    (folder / file.name).write_text(json.dumps(short))
    return folder / file.name


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rm_bench_is_judged_and_scored_by_its_formula(sglang: Sglang, shared_data: Path, tmp_path: Path) -> None:
    for name in ("chat", "code"):
        some_of(shared_data / "rm-bench" / f"{name}_filtered.json", tmp_path / "rm-bench", 2)
    output, report = tmp_path / "judged.jsonl", tmp_path / "report.html"
    done = reasrm(
        *("eval", "rm-bench", tmp_path / "rm-bench", "--engine", sglang.url, "-o", output, "--report", report, "--json"), *FAST
    )
    rows = rows_of(output)
    assert [(row["subset"], len(row["comparisons"])) for row in rows] == [("chat", 9), ("chat", 9), ("code", 9), ("code", 9)]
    score = json.loads(done.stdout)
    assert (score["protocol"], score["overall"], score["missing"]) == ("rm-r1", None, ["math", "safety"])
    chat = [Scored.read(row) for row in rows[:2]]
    right = sum(row.correct(comparison) is True for row in chat for comparison in row.comparisons)
    assert score["sections"]["chat"]["value"] == pytest.approx(right / 18)
    assert "RM-R1-Qwen2.5-Instruct-32B" in report.read_text()
    again = reasrm("eval", "rm-bench", "--from", output, "--json")
    assert json.loads(again.stdout) == score


def test_rmb_pairs_and_best_of_n_are_judged_in_one_go(sglang: Sglang, shared_data: Path, tmp_path: Path) -> None:
    for kind in ("Pairwise_set", "BoN_set"):
        part = Path("rmb") / kind / "Helpfulness" / "Chat"
        some_of(shared_data / part / "Discussion.json", tmp_path / part, 3)
    output = tmp_path / "judged.parquet"
    done = reasrm("eval", "rmb", tmp_path / "rmb", "--engine", sglang.url, "-o", output, "--json", *FAST)
    score = json.loads(done.stdout)
    assert set(score["sections"]) == {"Pairwise Helpfulness", "BoN Helpfulness"}
    assert score["sections"]["BoN Helpfulness"]["n"] == 3
    shown = reasrm("eval", "rmb", "--from", output)
    assert "rm-r1: one order" in shown.stdout
    assert "RM-R1-Qwen2.5-Instruct-32B" in shown.stdout
    refused = reasrm("eval", "rmb", "--from", output, "--protocol", "both-orders", check=None)
    assert refused.returncode != 0
    assert "read in one order only, and the protocol both-orders needs both" in refused.stderr
    assert refused.stdout == ""


def pairs(path: Path, rows: int) -> Path:
    lines = [
        {"id": i, "question": f"What is {i % 40} + 1?", "a": f"{i % 40 + 1}", "b": f"{i}", "winner": "A"}
        for i in range(1, rows + 1)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_killed_run_goes_on_and_keeps_what_was_done_to_the_byte(sglang: Sglang, tmp_path: Path) -> None:
    source = pairs(tmp_path / "in.jsonl", 30)
    output, journal = tmp_path / "out.jsonl", tmp_path / "out.jsonl.journal"
    command = ["score", source, "-o", output, "--engine", sglang.url, "--one-order", "--concurrency", "4", *FAST]
    with subprocess.Popen([REASRM, *map(str, command)], stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and (not journal.exists() or len(journal.read_bytes().splitlines()) < 10):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not output.exists()
    kept = [line.split(b" ", 2) for line in journal.read_bytes().splitlines(keepends=True)[1:] if line.endswith(b"\n")]
    done = reasrm(*command, "--json")
    assert json.loads(done.stdout)["rows"] == 30
    rows = output.read_bytes().splitlines(keepends=True)
    assert len(kept) >= 8
    assert all(rows[int(index)] == row for _, index, row in kept)
    refused = reasrm(*command, check=1)
    assert "exists; give another name, or replace it with --restart" in refused.stderr


def test_an_interrupted_run_says_how_to_go_on(sglang: Sglang, tmp_path: Path) -> None:
    source = pairs(tmp_path / "in.jsonl", 200)
    output, journal = tmp_path / "out.jsonl", tmp_path / "out.jsonl.journal"
    command = [REASRM, "score", source, "-o", output, "--engine", sglang.url, "--concurrency", "2", *FAST]
    heeds = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a background job of a shell does not
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True, preexec_fn=heeds) as process:
        while process.poll() is None and (not journal.exists() or len(journal.read_bytes().splitlines()) < 3):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert journal.exists()


def test_summary_and_report_of_a_scored_file(sglang: Sglang, tmp_path: Path) -> None:
    source = pairs(tmp_path / "in.jsonl", 12)
    with source.open("a") as file:
        file.write(json.dumps({"id": 99, "question": "q", "a": None, "b": "x"}) + "\n")
    report = tmp_path / "report.html"
    done = reasrm("score", source, "-o", tmp_path / "out.jsonl", "--engine", sglang.url, "--report", report, *FAST)
    assert "13, 1 of them bad; the first:" in done.stdout.replace("\n", " ")
    assert "13 rows of schema pair" in done.stderr
    assert "13 of 13 rows (100 %)" in done.stderr
    assert report.read_text().startswith("<!doctype html>")


def test_strength_is_measured_and_cleaned_by(sglang: Sglang, tmp_path: Path) -> None:
    source = pairs(tmp_path / "in.jsonl", 6)
    strength, clean = tmp_path / "strength.jsonl", tmp_path / "clean.jsonl"
    reasrm("data", "strength", source, "-o", strength, "--votes", "4", "--engine", sglang.url, *FAST)
    rows = rows_of(strength)
    assert [row["index"] for row in rows] == list(range(6))
    kept = Scored.read(rows_of(tmp_path / "strength.judge1.jsonl")[0])
    assert len(kept.comparisons[0].games) == 4
    reasrm("data", "clean", source, "-o", clean, "--strength", strength, "--flip-below", "-0.9", "--margin")
    actions = rows_of(tmp_path / "clean.jsonl.actions.jsonl")
    assert [action["strength"] for action in actions] == [row["strength"] for row in rows]
    assert len(rows_of(clean)) == sum(action["action"] != "dropped" for action in actions)


def test_kept_judgments_are_used_again_and_those_of_another_measurement_are_refused(sglang: Sglang, tmp_path: Path) -> None:
    source, strength = pairs(tmp_path / "in.jsonl", 4), tmp_path / "strength.jsonl"
    command = ["data", "strength", source, "-o", strength, "--engine", sglang.url, *FAST]
    reasrm(*command)
    first = strength.read_bytes()
    strength.unlink()
    assert "holds these judgments already" in reasrm(*command).stderr
    assert strength.read_bytes() == first
    strength.unlink()
    refused = reasrm(*command, "--votes", "4", check=1)
    assert "strength.judge1.jsonl holds judgments of other rows or by another judge; replace it with --restart" in refused.stderr


def test_an_audit_of_a_real_engine_fills_its_table(sglang: Sglang, tmp_path: Path) -> None:
    source = pairs(tmp_path / "in.jsonl", 12)
    output, drawn = tmp_path / "audit.json", tmp_path / "audit.svg"
    done = reasrm(*("audit", source, "--sample", "3", "--engine", sglang.url, "-o", output, "--plot", drawn), *FAST)
    assert "how far this judge can be believed" in done.stdout
    assert {finding["sense"] for finding in json.loads(output.read_text())} == {
        "reproducibility",
        "internal consistency",
        "external consistency",
        "generalisation",
    }
    assert "<svg" in drawn.read_text()


def test_a_file_is_scored_through_a_gateway_and_scored_again_to_the_same_bytes(gateway: Gateway, tmp_path: Path) -> None:
    demo = json.loads((ROOT / "serving" / "reasrm_serving" / "demo_pairs.json").read_text())[::2]
    rows = [{**{name: example[name] for name in ("question", "a", "b")}, "winner": example["better"]} for example in demo]
    rows.append({"question": "Who wrote the Odyssey?", "a": "Homer, so it is said.", "b": "Nobody knows."})
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    outputs = [tmp_path / name for name in ("one.jsonl", "two.jsonl")]
    first, _ = (reasrm("score", tmp_path / "in.jsonl", "-o", output, "--url", gateway.url, "--json") for output in outputs)
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    *judged, outside = rows_of(outputs[0])
    assert sum(row["correct"] is True for row in judged) > 0.6 * len(judged)
    assert (outside["winner"], outside["reason"]) == (None, "outside_domain")
    (judge,) = json.loads(first.stdout)["judges"]
    with httpx.Client(trust_env=False) as http:
        served = http.get(f"{gateway.url}/v1/models").json()["data"][0]
    assert judge == {name: served[name] for name in ("weight_version", "prompt_digest")} | {"model": served["id"]}
    assert {row["prompt_digest"] for row in judged} == {judge["prompt_digest"]}


def test_a_response_of_five_megabytes_costs_its_own_row_and_no_other(sglang: Sglang, tmp_path: Path) -> None:
    source = pairs(tmp_path / "in.jsonl", 4)
    with source.open("a") as file:
        file.write(json.dumps({"id": "long", "question": "q?", "a": "word " * 1_000_000, "b": "x", "winner": "B"}) + "\n")
    output = tmp_path / "out.parquet"
    done = reasrm("score", source, "-o", output, "--engine", sglang.url, "--json", *FAST)
    summary = json.loads(done.stdout)
    assert (summary["rows"], summary["bad_rows"]) == (5, 0)
    assert summary["no_verdict"]["too_long"] == 1


@pytest.mark.parametrize(
    ("benchmark", "families"), [("rm-bench", ("chat", "code")), ("rmb", ("Chat", "Rewrite", "Closed QA", "Classification"))]
)
def test_a_part_of_each_published_file_is_judged_by_the_embedded_judge(
    sglang: Sglang, shared_data: Path, tmp_path: Path, benchmark: str, families: tuple[str, ...]
) -> None:
    rows = [some_of(file, tmp_path / file.relative_to(shared_data).parent, 1) for file in (shared_data / benchmark).rglob("*.json")]
    output = tmp_path / "judged.jsonl"
    flags = ("--engine", sglang.url, "--prompts", "world", "--max-tokens", "16")
    shown = reasrm("eval", benchmark, tmp_path / benchmark, "-o", output, *flags).stdout
    judged = [Scored.read(row) for row in rows_of(output)]
    assert len(judged) == len(rows)
    made = [compared for row in judged for compared in row.comparisons if compared.reason != "too_long"]
    assert len(made) > len(rows)
    assert all(compared.games[0].reply for compared in made)
    assert "rm-r1: one order, drawn for each row; no verdict counts 0" in shown
    assert "judge (this run)" in shown
    assert "RM-R1-DeepSeek-Distilled-Qwen-32B" in shown
    assert all(family in shown for family in families)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "{in}", "-o", "{out}", "--engine", "http://127.0.0.1:9"], "no engine answers at http://127.0.0.1:9"),
        (["score", "{in}", "-o", "{out}", "--url", "http://127.0.0.1:9"], "no gateway answers at http://127.0.0.1:9"),
        (["score", "missing.jsonl", "-o", "{out}", "--engine", "{url}"], "missing.jsonl: there is no such file or folder"),
        (["score", "{in}", "-o", "{out}", "--engine", "{url}", "--schema", "odd"], "there is no schema 'odd'"),
        (["score", "{in}", "-o", "{out}", "--engine", "{url}", "--map", "a"], "--map takes NAME=COLUMN"),
        (["score", "{in}", "-o", "out.csv", "--engine", "{url}"], "the output ends in .jsonl or .parquet"),
        (["eval", "odd", "{in}"], "there is no benchmark 'odd'; there are rewardbench"),
        (["eval", "rmb", "{in}", "--engine", "{url}"], "is pair, where rmb-pairwise or rmb-best-of-n is needed"),
        (["eval", "rmb", "--from", "{in}"], "no row of judgments"),
        (["eval", "rmb"], "give PATH to judge, or --from JUDGMENTS"),
        (["eval", "rmb", "{in}", "--protocol", "odd"], "RMB has no protocol 'odd'; there are rm-r1, both-orders"),
        (["data", "clean", "{in}", "-o", "{out}", "--margin"], "give --strength FILE"),
        (["data", "strength", "{in}", "-o", "{out}", "--votes", "3"], "--votes must be even"),
        (["score", "{in}", "-o", "{out}", "--engine", "{url}", "--report", "no/such/r.html"], "there is no folder no/such"),
        (["eval", "rmb", "{in}", "--engine", "{url}", "--report", "/"], "--report /: is a folder; name a file in it"),
    ],
)
def test_a_mistake_is_reported_in_one_line(sglang: Sglang, tmp_path: Path, arguments: list[str], message: str) -> None:
    source = pairs(tmp_path / "in.jsonl", 3)
    filled = [argument.format(**{"in": source, "out": tmp_path / "out.jsonl", "url": sglang.url}) for argument in arguments]
    done = reasrm(*filled, check=None)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out.jsonl").exists()
