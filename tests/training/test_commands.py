"""`reasrm data` and `reasrm train` from the command line: what is printed, exit codes, one line for a mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from reasrm_training.data.files import locked

from tests.training.scripted_oracles import Oracles, chain, wrong_at_first
from tests.training.test_data_mix import preferences, write_rows


def reasrm(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reasrm.cli", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=cwd, env=os.environ | {"COLUMNS": "160"})


RECIPE = """
name = "mine"
[model]
path = "none"
[data]
distill = 50
heldout = 20
[[data.sources]]
path = "pairs.jsonl"
drop = ["duplicate"]
[oracle.first]
url = "{url}"
model = "first"
[distill]
learning_rate = 1e-5
[rlvr]
steps = 1
learning_rate = 1e-6
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_rows(tmp_path / "pairs.jsonl", preferences(200))
    (tmp_path / "mine.toml").write_text(RECIPE.format(url="http://127.0.0.1:9"))
    return tmp_path


def test_a_mix_says_what_it_kept_and_where(folder: Path):
    done = reasrm("data", "mix", "mine.toml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "pairs.jsonl (preference): 200 of 200 rows kept; dropped nothing" in done.stdout
    assert "runs/mine/data/distill.jsonl: 50 rows, A wins 25" in done.stdout
    assert json.loads((folder / "runs/mine/data/manifest.json").read_text())["parts"]["rlvr"]["rows"] == 130


def test_a_mix_names_the_first_row_that_it_could_not_read(folder: Path):
    with (folder / "pairs.jsonl").open("a") as file:
        file.write('{"prompt": "p", "chosen": "cut o\n{"prompt": "p", "chosen": 3, "rejected": "b"}\n')
    done = reasrm("data", "mix", "mine.toml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "pairs.jsonl (preference): 200 of 202 rows kept; dropped 2 unreadable" in done.stdout
    (line,) = [text for text in done.stdout.splitlines() if "could not be read" in text]
    assert line.startswith("  the first that could not be read: pairs.jsonl, row 201: ")


def test_chains_are_requested_directly_or_by_batch_files(folder: Path, oracles: Oracles):
    oracles.behaviour = lambda body: wrong_at_first(body | {"model": "first"})
    (folder / "mine.toml").write_text(RECIPE.format(url=oracles.url))
    done = reasrm("data", "distill", "mine.toml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "runs/mine/chains/chains.jsonl: 25 of 50 examples (25 from the first)" in done.stdout
    assert "not learnt from, first pass: 25 wrong" in done.stdout
    assert "50 replies, 5,000 tokens in, 2,500 out, $0.00" in done.stdout
    assert "without an answer" not in done.stdout
    written = reasrm("data", "distill", "mine.toml", "--write-batch", "--restart", cwd=folder)
    assert "runs/mine/chains/requests-first-000.jsonl" in written.stdout
    assert "chains.jsonl: 0 of 50 examples" in written.stdout
    assert "without an answer: 50 examples" in written.stdout
    troubles = [429, 500, b"?", None]
    oracles.behaviour = lambda body: troubles.pop() if troubles else chain("A")
    stumbled = reasrm("data", "distill", "mine.toml", cwd=folder)
    assert "attempts that failed: 1 EngineUnreachable, 1 EngineNonsense, 1 EngineError, 1 EngineBusy" in stumbled.stdout
    assert [line.partition(" answered ")[2] for line in stumbled.stderr.splitlines()] == ["500: no", "429: no"]  # the log


@pytest.mark.parametrize("command", ["mix", "distill"])
def test_a_second_run_in_the_same_folder_is_refused(folder: Path, command: str):
    with locked(folder / "runs" / "mine"):
        done = reasrm("data", command, "mine.toml", cwd=folder)
    assert (done.returncode, done.stderr) == (1, "reasrm: another run is at work in runs/mine\n")


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("data", "distill", "mine.toml"), 1, "no engine answers at http://127.0.0.1:9"),
        (("data", "mix", "mine.toml", "--set", "data.sorces=3"), 2, "mine.toml: data.sorces: unknown key; did you mean sources?"),
        (("data", "mix", "nope"), 2, "nope: no such recipe; give a .toml file or one of"),
        (("train", "plan", "mine.toml"), 2, "model.path: the shape of none is not known"),
        (("train", "run", "mine.toml", "--restart", "dinner"), 2, "--restart dinner: no such stage; there are data, chains"),
        (("train", "distill", "qwen3-8b"), 2, "qwen3-8b: the recipe has no [distill]"),
        (("data", "mix", "tiny", "-o", "mine.toml"), 1, "mine.toml: File exists"),
        (("train", "run", "tiny", "-o", "mine.toml"), 2, "mine.toml is a file; give a folder"),
        (("train", "run", "mine.toml", "--set", "model.path=./none"), 2, "model.path: there is no folder ./none"),
        (("train", "recipes", "nope"), 2, "nope: no such recipe"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(folder: Path, args: tuple[str, ...], code: int, says: str):
    done = reasrm(*args, cwd=folder)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [("train",), ("train", "run"), ("train", "plan"), ("data", "mix"), ("data", "distill")])
def test_help_has_examples(folder: Path, command: tuple[str, ...]):
    assert "Examples" in reasrm(*command, "--help", cwd=folder).stdout


def test_a_plan_is_for_people_and_for_programs(folder: Path):
    shown = reasrm("train", "plan", "rm-r1-qwen2.5-instruct-7b", cwd=folder).stdout
    assert "7.616 B parameters" in shown
    assert "rlvr: memory of one GPU" in shown.splitlines()
    assert "fits" in shown
    plan = json.loads(reasrm("train", "plan", "tiny", "--json", "--reply-tokens", "85", "--set", "seed=7", cwd=folder).stdout)
    assert plan["command"] == "reasrm train run tiny --set seed=7"
    assert plan["lengths"]["reply"] == 85
    assert [stage["stage"] for stage in plan["stages"]] == ["distill", "rlvr"]


def test_recipes_are_listed_and_one_of_them_can_be_copied(folder: Path):
    listed = reasrm("train", "recipes", cwd=folder).stdout
    assert "rm-r1-deepseek-distilled-qwen-32b    32 x H100" in listed
    (folder / "copy.toml").write_text(reasrm("train", "recipes", "qwen3-8b", cwd=folder).stdout)
    assert reasrm("train", "plan", "copy.toml", "--json", cwd=folder).returncode == 0
