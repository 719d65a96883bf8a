"""A server in a child process: it is ready inside the `with`, comes back when it ends, and outlives nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from reasrm.errors import EngineUnreachable
from reasrm.launch import ServerProcess, free_port, free_ports
from tests.components import answers
from tests.serving.traffic import until

#: A server that prints its process id and the first line of its standard input, and has a child of its own.
SERVER = """
import http.server, os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(f"{os.getpid()} {child.pid} {sys.stdin.readline().strip()}", flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200), self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def server(lines: list[str], stdin: str = "\n") -> tuple[ServerProcess, str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = ServerProcess("it", [sys.executable, "-c", SERVER, str(port)], url, stdin=stdin, on_line=lines.append)
    return process, url


def pids(line: str) -> list[int]:
    return [int(word) for word in line.split()[:2]]


def are_gone(line: str) -> bool:
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids(line))


def test_a_server_is_ready_inside_the_with_and_gone_after_it_with_all_that_it_started() -> None:
    lines: list[str] = []
    process, url = server(lines, stdin="a secret\n")
    with process:
        assert answers(url)
        assert lines[0].endswith("a secret")
        command = psutil.Process(pids(lines[0])[0]).cmdline()
        assert not any("a secret" in argument for argument in command), "every user may read the arguments of a process"
    assert are_gone(lines[0])
    assert not answers(url)


@pytest.mark.parametrize("victim", ["server", "guard"])
def test_a_server_that_is_killed_comes_back_on_the_same_port(victim: str) -> None:
    lines: list[str] = []
    process, url = server(lines)
    with process:
        first = psutil.Process(pids(lines[0])[0])
        (first if victim == "server" else first.parent()).kill()  # type: ignore[union-attr]
        until(lambda: len(lines) == 2 and answers(url))
        assert process.starts == 2
    assert are_gone(lines[1])


def test_a_server_of_a_process_that_is_killed_ends_too() -> None:
    code = f"""
    import sys, time
    from reasrm.launch import ServerProcess, free_port
    port = free_port()
    url = f"http://127.0.0.1:{{port}}"
    with ServerProcess("it", [sys.executable, "-c", {SERVER!r}, str(port)], url, stdin="\\n", on_line=print):
        print("ready", flush=True)
        time.sleep(600)
    """
    with subprocess.Popen([sys.executable, "-uc", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        lines = [parent.stdout.readline(), parent.stdout.readline()]
        line = next(line for line in lines if line != "ready\n")
        os.kill(parent.pid, signal.SIGKILL)
        until(lambda: are_gone(line))


def test_a_server_that_ends_before_it_is_ready_shows_its_last_lines_and_does_not_come_back() -> None:
    process = ServerProcess("it", [sys.executable, "-c", "print('no such accelerator'); exit(3)"], "http://127.0.0.1:9")
    with pytest.raises(EngineUnreachable, match="it did not start; its last lines:\nno such accelerator"), process:
        pass
    assert process.starts == 1


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    process = ServerProcess("it", [str(tmp_path / "none")], "http://127.0.0.1:9")
    with pytest.raises(EngineUnreachable, match=f"cannot start {tmp_path}/none: No such file"), process:
        pass


def test_a_server_that_is_not_ready_in_time_is_ended() -> None:
    lines: list[str] = []
    process = ServerProcess(
        "it",
        [sys.executable, "-uc", "import os, time; print(os.getpid(), os.getpid()); time.sleep(600)"],
        "http://127.0.0.1:9",
        on_line=lines.append,
        start_s=1.0,
    )
    with pytest.raises(EngineUnreachable, match="not ready after 1 s"), process:
        pass
    assert are_gone(lines[0])


def test_free_ports_differ() -> None:
    assert len(set(free_ports(20))) == 20
