"""A server in a child process: ready inside a `with`, started again when it ends, and never outliving this process."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Self, cast

import httpx

from reasrm.errors import EngineUnreachable

log = logging.getLogger("reasrm.launch")
GUARD = Path(__file__).with_name("guard.py")
START_S = 600.0
LOOK_EVERY_S = 0.05
PROGRESS_S = 10.0
END_S = 15.0  # the guard gives a server 10 s before it ends it by force
TAIL_LINES = 20
#: A server that ends is started again after the first of these pauses; the pause doubles up to the second while it keeps ending.
AGAIN_S, AGAIN_MOST_S = 0.25, 30.0
STEADY_S = 60.0  # a server that ran so long does not "keep ending"


class ServerProcess:
    """`command` as a server that answers `ready_url` with 200 once it is ready. Use it as a context manager.

    `stdin` is the text that its standard input gets: unlike arguments, other users cannot read it. `on_line` gets every line that
    it prints. With `restart` it is started again whenever it ends; `starts` counts. Entering raises `EngineUnreachable`, with
    the server's last lines, where it ends before it is ready, or takes longer than `start_s` seconds.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        ready_url: str,
        *,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], object] = lambda line: None,
        restart: bool = True,
        start_s: float = START_S,
    ) -> None:
        self.name, self.starts = name, 0
        self._order = json.dumps({"command": list(command), "stdin": stdin}).encode() + b"\n"
        self._ready_url, self._env, self._on_line, self._start_s = ready_url, env, on_line, start_s
        self._restart = restart
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._over, self._ready, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        # The kernel ends a guard when the thread that started it ends, so one thread starts them all, and stays.
        self._keeper = threading.Thread(target=self._keep, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._keeper.start()
        try:
            self._await_ready()
        except BaseException:  # Ctrl-C too
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    @property
    def tail(self) -> str:
        """The last lines that the server printed."""
        return "\n".join(self._tail)

    def _keep(self) -> None:
        """The thread: run the server, and run it again when it ends."""
        pause = AGAIN_S
        while not self._over.is_set():
            started = time.monotonic()
            status = self._run()
            if self._over.is_set() or not (self._restart and self._ready.is_set()):
                break
            log.error("%s ended (%s): it is being restarted. Its last line: %s", self.name, _of_status(status), self._last_line)
            if time.monotonic() - started > STEADY_S:
                pause = AGAIN_S
            self._over.wait(pause)
            pause = min(2 * pause, AGAIN_MOST_S)
        self._ended.set()

    def _run(self) -> int:
        # In a session of its own, so that Ctrl-C does not stop it while this process finishes its work. The guard leads its group.
        with subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=self._env,
        ) as process:
            self._process = process
            self.starts += 1
            stdin, stdout = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
            with contextlib.suppress(BrokenPipeError):  # it has ended already
                stdin.write(self._order)
                stdin.flush()
            if self._over.is_set():  # `_end` may have come before there was a process
                process.terminate()
            reader = threading.Thread(target=self._read, args=[stdout], name=f"{self.name}: output", daemon=True)
            reader.start()
            process.wait()
            with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM where all have ended
                os.killpg(process.pid, signal.SIGKILL)  # what a guard that was killed has left behind
            reader.join()
        return process.returncode

    def _read(self, stdout: IO[bytes]) -> None:
        for raw in stdout:
            line = raw.decode(errors="replace").rstrip()
            self._tail.append(line)
            self._on_line(line)

    def _await_ready(self) -> None:
        began, shown = time.monotonic(), PROGRESS_S
        with httpx.Client(timeout=5.0, trust_env=False) as http:
            while not self._ended.wait(LOOK_EVERY_S):
                seconds = time.monotonic() - began
                if _is_ready(http, self._ready_url):
                    self._ready.set()
                    return
                if seconds > self._start_s:
                    raise EngineUnreachable(f"{self.name} was not ready after {self._start_s:g} s; its last lines:\n{self.tail}")
                if seconds > shown:
                    log.info("%s is loading, %.0f s so far", self.name, seconds)
                    shown += PROGRESS_S
        raise EngineUnreachable(f"{self.name} did not start; its last lines:\n{self.tail}")

    def _end(self) -> None:
        self._over.set()
        if self._process is not None:
            self._process.terminate()
        self._keeper.join(END_S)
        if self._process is not None and self._keeper.is_alive():
            self._process.kill()
            self._keeper.join()

    @property
    def _last_line(self) -> str:
        return self._tail[-1] if self._tail else "(none)"


def _is_ready(http: httpx.Client, url: str) -> bool:
    try:
        return http.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def _of_status(status: int) -> str:
    """An exit status in words; the guard adds 128 to the number of a signal."""
    number = -status if status < 0 else status - 128
    if number in {member.value for member in signal.Signals}:
        return f"killed by {signal.Signals(number).name}"
    return f"exit status {status}"


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on at this moment."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """As many different ones."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]
