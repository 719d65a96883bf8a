"""The Slurm script in a bash with stand-ins for srun and scontrol and with a real gateway; the engine judges nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.components import answers, free_port
from tests.deploy.manifests import DEPLOY

WORKER = Path(__file__).with_name("worker.py")
SCRIPT = DEPLOY / "judge-and-trainer.sbatch"
SRUN = '#!/bin/bash\nwhile [[ $1 == --* ]]; do echo "$1" >>"$SRUN_LOG"; shift; done\nexec "$@"\n'
SCONTROL = '#!/bin/bash\nprintf "localhost\\n127.0.0.1\\n"\n'
# the part of a Python with SGLang: -m sglang.launch_server ... --weight-version W ... --port P
SGLANG = f"""#!{sys.executable}
import os, sys
flags = dict(zip(sys.argv, sys.argv[1:]))
os.execv({sys.executable!r}, ["engine", {str(WORKER)!r}, flags["--port"], flags["--weight-version"]])
"""


@pytest.fixture
def job(tmp_path: Path) -> dict[str, str]:
    """The environment of a job of two nodes."""
    for name, text in {"srun": SRUN, "scontrol": SCONTROL, "sglang-python": SGLANG}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SRUN_LOG": str(tmp_path / "srun.log"),
        "SGLANG": str(tmp_path / "sglang-python"),
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_NODELIST": "node[1-2]",
        "MODEL": "/models/step-7",
        "PORT": str(free_port()),
        "ENGINE_PORT": str(free_port()),
    }


def run(job: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", SCRIPT, *command], env=job, capture_output=True, text=True, timeout=100, check=False)


def test_the_trainer_finds_a_judge_that_is_ready_and_its_exit_status_is_the_jobs(job: dict[str, str]) -> None:
    done = run(job, "bash", "-c", 'curl -s "$REASRM_URL/v1/models"; exit 7')
    assert done.returncode == 7, done.stdout + done.stderr
    assert '"weight_version":"step-7"' in done.stdout
    assert not list(Path(job["SLURM_SUBMIT_DIR"]).glob(".judge-*")), "the key file goes with the job"
    flags = Path(job["SRUN_LOG"]).read_text()
    assert "--nodelist=localhost" in flags and "--nodelist=127.0.0.1" in flags
    for port in (job["PORT"], job["ENGINE_PORT"]):
        assert not answers(f"http://127.0.0.1:{port}/healthz") and not answers(f"http://127.0.0.1:{port}/health")


def test_a_stranger_on_another_node_gets_no_judgments(job: dict[str, str]) -> None:
    ask = 'curl -s -o /dev/null -w "%{http_code} " '
    done = run(
        job,
        "bash",
        "-c",
        f'{ask} "http://${{REASRM_URL#*@}}/v1/models"; {ask} -H "authorization: Bearer $REASRM_TOKEN" "http://${{REASRM_URL#*@}}/v1/models"',
    )
    assert done.returncode == 0, done.stderr
    assert "401 200" in done.stdout


def test_a_judge_that_ends_takes_the_job_with_it(job: dict[str, str]) -> None:
    done = run(job, "bash", "-c", 'curl -s -X POST "http://127.0.0.1:$ENGINE_PORT/quit"; exec sleep 90')
    assert done.returncode not in (0, 124)
    assert "the judge ended" in done.stderr


def test_a_judge_that_never_starts_is_reported(job: dict[str, str]) -> None:
    done = run({**job, "SGLANG": "false"}, "true")
    assert done.returncode == 1
    assert "the judge ended before it was ready" in done.stderr


def test_missing_things_are_reported_before_anything_starts(job: dict[str, str]) -> None:
    assert run(job).returncode == 2
    assert "MODEL" in run({key: value for key, value in job.items() if key != "MODEL"}, "true").stderr
