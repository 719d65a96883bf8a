"""`reasrm serve --launch MODEL`: the engine starts, comes back, and ends with the gateway; what cannot work is said in one line."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from reasrm_serving.settings import EMBEDDED

from tests.components import ROOT, SGLANG_VENV, Server
from tests.real_models import smollm2
from tests.serving.traffic import until

REASRM = str(Path(sys.executable).parent / "reasrm")
JUDGE = EMBEDDED / "model.gguf"
PAIR = {"question": "What is the capital of France?", "a": "Paris.", "b": "I like cheese.", "max_tokens": 16}
pytestmark = pytest.mark.timeout(300)


class LaunchingGateway(Server):
    """`reasrm serve --port 0` with `flags`; `url` is the address that it greets with."""

    def __init__(self, log: Path, *flags: str) -> None:
        self.url = ""
        super().__init__([REASRM, "serve", "--port", "0", *flags], port=0, log=log, ready=self._has_greeted, start_s=120)

    def _has_greeted(self) -> bool:
        greeting = re.search(r"^reasrm serves .* on (http://\S+)", self.log.read_text(), re.MULTILINE)
        self.url = greeting[1] if greeting else ""
        return bool(greeting)

    @property
    def engine(self) -> psutil.Process | None:
        """The engine's process, behind its guard; None while there is none."""
        try:
            return next((engine for guard in psutil.Process(self.pid).children() for engine in guard.children()), None)
        except psutil.NoSuchProcess:
            return None

    def judge(self, pair: dict[str, object]) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/judge", json=pair, timeout=120)


@pytest.fixture
def real(tmp_path: Path) -> Iterator[LaunchingGateway]:
    """A gateway that has launched a real model."""
    model = smollm2()
    with LaunchingGateway(tmp_path / "gateway.log", "--launch", str(model)) as gateway:
        yield gateway


def test_a_small_untrained_model_judges_at_a_glance_unless_it_is_told_to_reason(real: LaunchingGateway) -> None:
    glance = real.judge({**PAIR, "question": "What is the capital of Italy?", "a": "Rome.", "b": "I like cheese."}).json()
    assert glance["prompt_digest"].startswith("compact@")
    assert "is judged with the prompts compact: a small model" in real.log.read_text()
    assert glance["outcome"]["source"] == "logprobs"
    assert glance["usage"]["completion_tokens"] == 2

    reasoned = real.judge({**PAIR, "reasoning": "on", "max_tokens": 12, "split_band": 0}).json()
    assert reasoned["outcome"]["source"] == "forced", "twelve tokens are too few for its reasoning"
    assert all(opinion["reading"]["answer"] for opinion in reasoned["opinions"])


def test_a_real_model_judges_comes_back_after_a_crash_and_leaves_nothing_behind(real: LaunchingGateway) -> None:
    first = real.judge(PAIR)
    assert first.status_code == 200, first.text
    judgment = first.json()
    assert judgment["model"] == "SmolLM2-135M-Instruct.Q4_1"
    assert re.fullmatch(r"[0-9a-f]{16}", judgment["weight_version"])
    assert judgment["usage"]["cached_tokens"] > 0, "the prompt pack was read before the gateway was ready"
    assert re.search(r"is ready after [\d.]+ s", real.log.read_text())

    engine = real.engine
    assert engine is not None
    engine.kill()
    until(lambda: real.engine not in (None, engine))
    until(lambda: real.judge({**PAIR, "question": "And of Spain?"}).status_code == 200, within_s=60)
    assert "killed by SIGKILL" in real.log.read_text()
    assert real.judge(PAIR).json()["cached"] is True, "it has the same weights"

    engine = real.engine
    assert engine is not None
    guard = engine.parent()
    assert guard is not None
    psutil.Process(real.pid).kill()
    until(lambda: not engine.is_running() and not guard.is_running())


def test_the_judge_that_comes_with_reasrm_ends_with_its_gateway(tmp_path: Path) -> None:
    with LaunchingGateway(tmp_path / "log") as gateway:
        engine = gateway.engine
        models = httpx.get(f"{gateway.url}/v1/models").json()["data"]
        assert (models[0]["id"], models[0]["max_context"]) == ("tiny", 4096)
        assert models[0]["prompt_digest"].startswith("world@")
    until(lambda: engine is not None and not engine.is_running())


def test_the_engine_answers_nobody_but_the_gateway(tmp_path: Path) -> None:
    with LaunchingGateway(tmp_path / "log") as gateway:
        engine = gateway.engine
        assert engine is not None
        (port,) = {connection.laddr.port for connection in engine.net_connections("tcp") if connection.status == psutil.CONN_LISTEN}
        stranger = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json={"messages": []})
        assert stranger.status_code == 401
        assert not any("key" in argument for argument in engine.cmdline())


def refused(*flags: str, env: dict[str, str] | None = None) -> str:
    """What `reasrm serve` with these flags says before it ends with an error."""
    command = [REASRM, "serve", "--port", "0", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=40, env=os.environ | (env or {}), check=False)
    assert done.returncode in (1, 2), done.stderr
    return done.stderr[done.stderr.index("reasrm: ", 5) :] if done.stderr.startswith("reasrm: starting") else done.stderr


def one_line(stderr: str) -> str:
    (line,) = (line for line in stderr.splitlines() if line.startswith("reasrm: "))
    return line


#: A template that drops all texts, and one that raises whatever it gets.
EMPTY, RAISES = "{% if messages %}judge{% endif %}", "{{ raise_exception('not me') }}"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--launch", str(JUDGE), "--prompts", "rubric", "--context", "600"), "and the context of tiny has 600: choose a larger"),
        (("--launch", str(JUDGE), "--slots", "256", "--context", "100000000"), "for 256 × 100,000,000 tokens of context"),
        (("--launch", str(JUDGE), "--prompts", "rubric", "--engine-arg", f"chat_template={EMPTY}"), "does not take the messages"),
        (("--launch", str(JUDGE), "--prompts", "rubric", "--engine-arg", f"chat_template={RAISES}"), "did not start"),
        (("--launch", str(JUDGE), "--engine", "http://a"), "--launch: this model's engine is the engine; leave out --engine"),
        (("--launch", str(JUDGE), "--model", "x"), "leave out --workers and --model"),
        (("--engine", "http://127.0.0.1:9", "--slots", "2"), "--slots is for an engine that reasrm starts"),
        (("--launch", "org/none-GGUF"), "the hub cannot be reached"),
        (("--launch", "/no/such/file.gguf"), "there is no such file or folder"),
    ],
    ids=("context", "memory", "empty template", "broken template", "engine", "model", "slots", "no network", "no file"),
)
def test_what_cannot_work_is_said_in_one_line(flags: tuple[str, ...], says: str) -> None:
    assert says in one_line(refused(*flags))


def test_a_file_that_is_cut_short_and_a_folder_that_is_no_model_are_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "cut.gguf").write_bytes(JUDGE.read_bytes()[:2_000_000])
    (tmp_path / "empty").mkdir()
    assert "cut.gguf is cut short: it has 2,000,000 bytes" in one_line(refused("--launch", str(tmp_path / "cut.gguf")))
    assert "there is no model in this folder" in one_line(refused("--launch", str(tmp_path / "empty")))


def test_a_folder_of_the_trainer_without_a_gguf_says_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert f"make one: reasrm train gguf {tmp_path}" in one_line(refused("--model", str(tmp_path)))


def test_an_engine_that_ends_at_once_shows_its_last_lines() -> None:
    said = refused("--launch", str(JUDGE), "--engine-arg", "n_gpu_layers=many")
    assert "llama.cpp with tiny did not start; its last lines:" in said
    assert "--engine-arg n_gpu_layers=many: invalid literal for int()" in said


def test_a_port_that_is_taken_is_named_before_anything_is_launched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"cannot listen on 127.0.0.1:{port}" in one_line(refused("--launch", str(JUDGE), "--port", str(port)))


def test_without_sglang_one_line_says_what_to_install(tiny_model: Path) -> None:
    said = one_line(refused("--launch", str(tiny_model), "--engine-python", sys.executable))
    assert "needs SGLang" in said
    assert "--engine-python" in said
    assert "No such file" in one_line(refused("--launch", str(tiny_model), "--engine-python", "/no/python"))


def test_sglang_is_launched_from_its_own_environment_for_a_folder(endless_model: Path, tmp_path: Path, monkeypatch) -> None:
    environ = {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "deploy" / "sglang-cpu" / "shim"), os.environ.get("PYTHONPATH", "")]),
        "SGLANG_USE_CPU_ENGINE": "1",
        "TORCHDYNAMO_DISABLE": "1",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    arguments = ("device=cpu", "attention_backend=torch_native", "dtype=float32", "max_total_tokens=65536", "sleep_on_idle")
    flags = [word for argument in arguments for word in ("--engine-arg", argument)]
    python = str(SGLANG_VENV / "bin" / "python")
    with LaunchingGateway(
        tmp_path / "log", "--launch", str(endless_model), "--engine-python", python, "--prompts", "rubric", "--slots", "8", *flags
    ) as gateway:
        engine = gateway.engine
        judgment = gateway.judge(PAIR | {"orders": "ab"}).json()
        assert (judgment["model"], len(judgment["weight_version"])) == (endless_model.name, 16)
        psutil.Process(gateway.pid).kill()
        until(lambda: engine is not None and not engine.is_running())
