"""The command line: one line per mistake, an exit code, no traceback."""

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
        (("judge", "q", os.fsdecode(b"\xff"), "b"), 2, "not Unicode"),
        (("judge", "q", "a", "b", "--url", "http://127.0.0.1:9"), 1, "no gateway answers at http://127.0.0.1:9"),
        (
            ("judge", "q", "a", "b", "--engine", "http://127.0.0.1:9", "--timeout", "1"),
            1,
            "no engine answers at http://127.0.0.1:9",
        ),
        (("judge", "q"), 2, "give QUESTION A B"),
        (("judge", "q", "", "b"), 2, "response A is empty"),
        (("judge", "q", "a", " "), 2, "response B is empty"),
        (("judge", "", "a", "b"), 2, "the question is empty"),
        (("rank", "q", "a", ""), 2, "response 2 is empty"),
        (("judge", "q", "a", "b", "--votes", "many"), 2, "--votes: input should be a valid integer"),
        (("judge", "q", "a", "b", "--timeout", "0"), 2, "--timeout: input should be greater than 0"),
        (("rank", "q", "a", "b", "--method", "odd"), 2, "--method: input should be 'all_pairs', 'circle'"),
        (("serve", "--port", "99999"), 2, "--port: input should be less than or equal to 65535"),
        (("serve", "--model", "/nonesuch"), 2, "--model /nonesuch: there is no model in this folder"),
        (("serve", "--prompts", "nonesuch"), 2, "no prompt pack 'nonesuch'"),
        (("serve", "--keys", "/nonesuch"), 2, "--keys: cannot read /nonesuch"),
        (("serve", "--engine", "http://a:1", "--workers", "http://b:1"), 2, "leave out --engine"),
        (("keys", "new", "team-a", "--rate", "600"), 2, 'write it as "600/minute"'),
        (("judge", "q", "a", "@/nonesuch"), 2, "cannot read /nonesuch"),
        (("judge", "--pair", "-"), 2, "is not JSON"),
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


@pytest.mark.parametrize("module", ["typer", "pydantic", "httpx", "rich.console"])
def test_ctrl_c_while_modules_are_loaded_ends_with_one_line(module):
    code = f"""
import os, signal, sys
class Interrupts:
    def find_spec(self, name, *rest):
        if name == {module!r} and not os.environ.pop("INTERRUPTED", None) is None:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = ["reasrm", "judge", "q", "a", "b", "--url", "http://127.0.0.1:9"]
from reasrm.cli import main
main()
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=os.environ | {"INTERRUPTED": "once"}
    )
    assert (run.returncode, run.stderr) == (130, "reasrm: stopped\n")


def test_an_error_message_cannot_control_the_terminal():
    run = reasrm("judge", "q", "a", "@/none\x1b[2Jsuch")
    assert "\x1b" not in run.stderr
    assert "␛[2J" in run.stderr


@pytest.mark.parametrize(
    ("blocked", "arguments", "says"),
    [
        (
            "xllamacpp",
            (),
            'llama.cpp is not installed: pip install "reasrm[serve,local]", or give an engine with --engine URL',
        ),
        (
            "fastapi",
            ("--engine", "http://127.0.0.1:9"),
            'the gateway needs fastapi: pip install "reasrm[serve]"',
        ),
    ],
)
def test_serve_says_in_one_line_what_is_not_installed(blocked, arguments, says):
    code = f"""
import sys
sys.modules[{blocked!r}] = None  # as if it were not installed
sys.argv = ["reasrm", "serve", *{arguments!r}]
from reasrm.cli import main
main()
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (1, f"reasrm: {says}\n")


def test_the_gateway_accepts_an_entry_that_keys_new_prints(tmp_path):
    from reasrm_serving.auth.gate import load_keys

    run = reasrm("keys", "new", "team-a", "--rate", "600/minute", "--concurrency", "4", "--priority", "-2")
    file = tmp_path / "keys.toml"
    file.write_text(run.stdout)
    (key,) = load_keys(file)
    assert (key.name, key.rate, key.concurrency, key.priority, key.admin) == ("team-a", "600/minute", 4, -2, False)


def test_a_flag_comes_before_its_variable_and_a_variable_before_its_file(tmp_path):
    secret = tmp_path / "port"
    secret.write_text("77777\n")
    variables = {"REASRM_PORT_FILE": str(secret)}
    assert "--port: input should be less" in reasrm("serve", "--model", "/nonesuch", **variables).stderr
    assert "--model /nonesuch" in reasrm("serve", "--model", "/nonesuch", REASRM_PORT="1", **variables).stderr
    assert "--model /nonesuch" in reasrm("serve", "--model", "/nonesuch", "--port", "1", REASRM_PORT="77777").stderr


@pytest.mark.parametrize("command", ["judge", "rank", "score", "eval", "audit", "serve", "data strength", "data clean", "keys new"])
def test_every_command_has_help_with_examples(command):
    run = reasrm(*command.split(), "--help", COLUMNS="200")
    assert run.returncode == 0
    assert f"reasrm {command} " in run.stdout.partition("Examples:")[2]


@pytest.mark.parametrize("command", ["judge", "rank", "score", "eval", "audit", "data strength"])
def test_every_command_that_judges_takes_the_same_address(command):
    shown = reasrm(*command.split(), "--help", COLUMNS="200").stdout
    assert {"--url", "--engine", "--token", "--model", "--prompts", "--timeout", "--ca-file"} <= set(shown.split())


def test_a_setting_of_the_gateway_is_a_flag_with_a_variable():
    from reasrm_serving.settings import Settings

    shown = " ".join(reasrm("serve", "--help", COLUMNS="200").stdout.split())
    for name in Settings.model_fields:
        stem = name.removesuffix("_s")
        assert f"--{stem.replace('_', '-')} " in shown
        assert f"REASRM_{stem.upper()}]" in shown


def test_standard_input_is_a_data_set(monkeypatch):
    import io

    from reasrm.commands.settings import DataSettings

    lines = b'{"question": "q", "a": "x", "b": "y"}\n{"question": "r", "a": "x", "b": "y"}\n'
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines)))
    with DataSettings(source="-").data() as data:
        first, second = ([(entry.file, entry.row["question"]) for entry in data] for _ in range(2))
    assert first == second == [("stdin.jsonl", "q"), ("stdin.jsonl", "r")]


def test_standard_input_that_is_not_utf8_is_reported():
    command = [sys.executable, "-m", "reasrm.cli", "judge", "--pair", "-"]
    run = subprocess.run(command, capture_output=True, input=b"{\xff", timeout=60, env=os.environ | {"LC_ALL": "C.UTF-8"})
    assert run.returncode == 2
    assert b"cannot read -: 'utf-8' codec" in run.stderr


def test_packs_are_listed_as_json():
    names = [row["name"] for row in json.loads(reasrm("prompts", "list", "--json").stdout)]
    assert {"rubric", "free", "world"} <= set(names)


def test_a_pack_is_imported_and_shown(tmp_path):
    source = tmp_path / "prompts.py"
    source.write_text('PROMPT = "[Q] {question} [A] {answer_a} [B] {answer_b} <answer>[[A/B]]</answer>"')
    imported = reasrm("prompts", "import", str(source), "-o", str(tmp_path / "mine"))
    assert imported.returncode == 0, imported.stderr
    assert "user.txt           from PROMPT" in imported.stdout
    shown = reasrm("prompts", "show", str(tmp_path / "mine"), "--question", "why?")
    assert "[Q] why? [A] 42 [B] 43 <answer>[[A/B]]</answer>" in shown.stdout
    as_data = json.loads(reasrm("prompts", "show", str(tmp_path / "mine"), "--question", "why?", "--json").stdout)
    assert as_data["messages"][-1] == {"role": "user", "content": "[Q] why? [A] 42 [B] 43 <answer>[[A/B]]</answer>"}
    assert as_data["digest"].startswith("mine@") and as_data["prefill"] == ""
