"""Processes that a run starts end with it, and hold the lock of its folder until they have ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from reasrm_training.data.files import locked

from reasrm.errors import Refused
from tests.training.mini_runs import environment

PARENT = """
import subprocess, sys
from pathlib import Path
from reasrm_training.data.files import locked
from reasrm.launch.guard import end_with_parent
sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
with locked(Path(sys.argv[1])) as lock:
    child = subprocess.Popen(sleeper, preexec_fn=end_with_parent, pass_fds=[lock])
    stays = subprocess.Popen(sleeper, pass_fds=[lock])
    print(child.pid, stays.pid, flush=True)
    child.wait()
"""


def test_a_process_ends_with_its_run_and_one_that_outlives_it_holds_its_lock(tmp_path: Path):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment()
    ) as run:
        assert run.stdout
        child, stays = (psutil.Process(int(pid)) for pid in run.stdout.readline().split())
        os.kill(run.pid, signal.SIGKILL)
        child.wait(30)
    with pytest.raises(Refused, match="another run is at work"), locked(tmp_path):
        pass
    stays.kill()
    stays.wait(30)
    with locked(tmp_path):
        pass
