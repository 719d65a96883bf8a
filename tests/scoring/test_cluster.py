"""The same scoring on Ray: two nodes of which one dies, and the output has the bytes of a run without Ray.

The engine is a script behind HTTP, since what is tested is the cluster: its verdicts depend on nothing but the prompt.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from reasrm.datasets import DataRow, DataSet, Example
from reasrm.errors import InputError, Refused
from reasrm.prompts import BUILTIN
from reasrm.scoring import How, Job, JudgeAddress, score
from reasrm.scoring.cluster import entry_of, score_on_ray, text_of
from reasrm.types import Options
from tests.scoring.test_commands import reasrm
from tests.scoring.test_run import write

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


class Engine(BaseHTTPRequestHandler):
    """Chat completions whose verdict is a hash of the prompt."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer({"data": [{"id": "scripted"}]} if self.path == "/v1/models" else {}, 200 if self.path == "/v1/models" else 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        time.sleep(0.02)
        side = "AB"[hashlib.sha256(json.dumps(json.loads(body)["messages"]).encode()).digest()[0] % 2]
        message = {"content": f"<type>Chat</type><rubric>- any</rubric><eval>so</eval><answer>[[{side}]]</answer>"}
        self._answer(
            {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 9, "completion_tokens": 5}}
        )

    def _answer(self, body: dict[str, Any], status: int = 200) -> None:
        written = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(written)))
        self.end_headers()
        self.wfile.write(written)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def engine() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Ray cluster of one node on this host, `add_node(**NODE)` adds another; and a driver in it."""
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    yield made
    ray.shutdown()
    made.shutdown()


def test_an_entry_travels_whole() -> None:
    example = Example(id="x", question="q?", responses=("a", "b", "c"), labels=(1, 0, 0), comparisons=((0, 1),), subset="s")
    for entry in (DataRow(3, "f", 4, {}, example), DataRow(5, "f", 6, {}, None, "a is null")):
        assert entry_of(text_of(entry)) == entry


@pytest.mark.timeout(300)
def test_a_cluster_that_loses_a_node_gives_the_output_of_a_run_without_one(cluster: Any, engine: str, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", 600)
    with source.open("a") as file:
        file.write('{"question": "q", "a": null, "b": "x"}\n')
    address = JudgeAddress(engine=engine, prompts="rubric")
    how = How(Options(orders="ab"))
    alone = Job(DataSet(source), tmp_path / "alone.jsonl", how)
    asyncio.run(score(alone, address, quiet=True))

    output = tmp_path / "out.jsonl"
    journal = tmp_path / "out.jsonl.journal"
    second = cluster.add_node(**NODE)
    killed: list[int] = []

    def kill_when_begun() -> None:
        while not output.exists():
            lines = len(journal.read_bytes().splitlines()) if journal.exists() else 0
            if lines > 60:
                cluster.remove_node(second, allow_graceful=False)
                killed.append(lines)
                return
            time.sleep(0.02)

    killer = threading.Thread(target=kill_when_begun)
    killer.start()
    messages: list[str] = []
    tally = score_on_ray(Job(DataSet(source), output, how), address, cluster.address, actors=2, say=messages.append)
    killer.join()
    assert killed
    assert killed[0] < 600
    assert (tally.rows, tally.errors) == (601, 1)
    assert output.read_bytes() == (tmp_path / "alone.jsonl").read_bytes()
    assert "Ray cluster of 2 nodes" in messages


@pytest.mark.timeout(300)
def test_the_command_scores_on_a_cluster_to_the_bytes_of_a_run_without_one(cluster: Any, engine: str, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", 150)
    command = ("score", source, "--engine", engine, "--one-order", "--json")
    done = reasrm(*command, "-o", tmp_path / "cluster.jsonl", "--ray", cluster.address, timeout=250)
    alone = reasrm(*command, "-o", tmp_path / "alone.jsonl")
    assert "Ray cluster of 1 nodes" in done.stderr
    assert json.loads(done.stdout)["rows"] == 150
    assert (tmp_path / "cluster.jsonl").read_bytes() == (tmp_path / "alone.jsonl").read_bytes()
    assert done.stdout == alone.stdout.replace("alone.jsonl", "cluster.jsonl")


@pytest.mark.timeout(300)
def test_judges_that_cannot_start_on_the_cluster_say_why_in_one_line(cluster: Any, engine: str, tmp_path: Path) -> None:
    prompts = shutil.copytree(BUILTIN / "rubric", tmp_path / "prompts")

    def say(line: str) -> None:
        if line.startswith("Ray cluster"):  # the driver has read them; another host may lack them
            shutil.rmtree(prompts)

    job = Job(DataSet(write(tmp_path / "in.jsonl", 5)), tmp_path / "out.jsonl", How(Options()))
    with pytest.raises(Refused, match=r"the judges on the cluster failed: .*no prompt pack") as caught:
        score_on_ray(job, JudgeAddress(engine=engine, prompts=str(prompts)), cluster.address, say=say)
    assert "\n" not in str(caught.value)


def test_a_missing_cluster_is_reported(tmp_path: Path, engine: str) -> None:
    job = Job(DataSet(write(tmp_path / "in.jsonl", 1)), tmp_path / "out.jsonl", How(Options()))
    with pytest.raises(InputError, match="no Ray cluster answers at 'auto'"):
        score_on_ray(job, JudgeAddress(engine=engine), "auto")
