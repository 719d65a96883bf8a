"""What people type and what they get: one line, an exit code, no traceback."""

import json
import os
import subprocess
import sys

import pytest


def reasrm(*args, stdin=None, **environment):
    command = [sys.executable, "-m", "reasrm.cli", *args]
    return subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=60, env=os.environ | environment)


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("judge", "q", "a", "b", "--url", "localhost:8900"), 2, "must start with http://"),
        (("judge", "q", "a", "b", "--url", "http://localhost:89x0"), 2, "write http://HOST:PORT"),
        (("rank", "q", "a", "b", "--url", "http://localhost:99999"), 2, "write http://HOST:PORT"),
        (("judge", "q", "a", "b", "--url", "http://"), 2, "write http://HOST:PORT"),
        (("judge", "q", "a", "b", "--engine", "http://[::1"), 2, "write http://HOST:PORT"),
        (("serve", "--engine", "http://localhost:89x0"), 2, "--engine: an engine's address"),
        (("judge", "q", os.fsdecode(b"\xff"), "b"), 2, "no Unicode"),
        (("judge", "q", "a", "b", "--url", "http://127.0.0.1:9"), 1, "no gateway answers at http://127.0.0.1:9"),
        (
            ("judge", "q", "a", "b", "--engine", "http://127.0.0.1:9", "--timeout", "1"),
            1,
            "no engine answers at http://127.0.0.1:9",
        ),
        (("judge", "q"), 2, "give QUESTION A B"),
        (("judge", "q", "", "b"), 2, "the assistant message is empty"),
        (("judge", "q", "a", "@/nonesuch"), 2, "cannot read /nonesuch"),
        (("judge", "--pair", "-"), 2, "is no JSON"),
        (("judge", "q", "a", "b", "--votes", "3", "--temperature", "0"), 2, "votes > 1 needs temperature > 0"),
        (("prompts", "show", "nonesuch"), 2, "no prompt pack 'nonesuch'"),
        (("nonesuch",), 2, "No such command"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(args, code, says):
    run = reasrm(*args, stdin="{", COLUMNS="200")
    assert run.returncode == code
    assert says in run.stderr
    assert "Traceback" not in run.stderr


def test_standard_input_that_is_no_utf8_is_said_to_be_none():
    command = [sys.executable, "-m", "reasrm.cli", "judge", "--pair", "-"]
    run = subprocess.run(command, capture_output=True, input=b"{\xff", timeout=60, env=os.environ | {"LC_ALL": "C.UTF-8"})
    assert run.returncode == 2
    assert b"cannot read -: 'utf-8' codec" in run.stderr


def test_help_has_examples():
    assert "Examples" in reasrm("judge", "--help").stdout


def test_packs_are_listed_as_json():
    names = [row["name"] for row in json.loads(reasrm("prompts", "list", "--json").stdout)]
    assert {"rubric", "free", "world"} <= set(names)


def test_a_pack_is_imported_and_shown(tmp_path):
    source = tmp_path / "prompts.py"
    source.write_text('PROMPT = "[Q] {question} [A] {answer_a} [B] {answer_b}"')
    imported = reasrm("prompts", "import", str(source), "-o", str(tmp_path / "mine"))
    assert imported.returncode == 0, imported.stderr
    assert "user.txt           from PROMPT" in imported.stdout
    shown = reasrm("prompts", "show", str(tmp_path / "mine"), "--question", "why?")
    assert "[Q] why? [A] 42 [B] 43" in shown.stdout
    as_data = json.loads(reasrm("prompts", "show", str(tmp_path / "mine"), "--question", "why?", "--json").stdout)
    assert as_data["messages"][-1] == {"role": "user", "content": "[Q] why? [A] 42 [B] 43"}
    assert as_data["digest"].startswith("mine@") and as_data["prefill"] == ""
