"""The program between a process and the server that it starts: it ends the server when that process is gone.

    python -I -S guard.py      standard input: one line of JSON, {"command": [...], "stdin": "..."}, then nothing until the end

The pipe is closed when its other side ends, however that happens and on every platform. On Linux the kernel also sends a signal
to the guard when its parent ends, and to the server when the guard ends. Guard, server and all processes that the server starts
are one group, which ends together. The server's standard input gets the text `stdin`, and tells when the guard is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading

END_S = 10.0  # seconds for a server to end by itself
PR_SET_PDEATHSIG = 1


def end_with_parent(how: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send `how` to this process when its parent ends, even if the parent was killed. On Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(how))


def _end_group() -> None:
    """End this group, by force if it takes its time. This process ignores the first signal."""
    os.killpg(0, signal.SIGTERM)
    threading.Timer(END_S, os.killpg, [0, signal.SIGKILL]).start()


def _end_without_parent() -> None:
    """Wait for the end of the parent, and then end this group with everything in it."""
    while os.read(0, 1024):
        pass
    _end_group()


def _begin_server() -> None:
    """In the new process of the server: undo what only holds for the guard."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()


def main() -> int:
    """Run the command; returns its exit status, or 128 and the signal that ended it."""
    asked, parent = threading.Event(), os.getppid()

    def on_signal(*_: object) -> None:
        asked.set()

    signal.signal(signal.SIGTERM, on_signal)
    end_with_parent(signal.SIGTERM)
    line = sys.stdin.buffer.readline()
    if not line:  # the parent is gone already
        return 0
    order = json.loads(line)
    command = order["command"]
    try:
        server = subprocess.Popen(command, stdin=subprocess.PIPE, preexec_fn=_begin_server)
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
        return 127
    with contextlib.suppress(BrokenPipeError):  # it has ended already
        os.write(server.stdin.fileno(), order.get("stdin", "").encode())  # type: ignore[union-attr]
    threading.Thread(target=_end_without_parent, daemon=True).start()
    threading.Thread(target=lambda: (asked.wait(), _end_group()), daemon=True).start()
    status = server.wait()
    if os.getppid() != parent:  # nobody is left to end what the server has left behind
        os.killpg(0, signal.SIGKILL)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # an orderly exit would wait for the thread that reads standard input
