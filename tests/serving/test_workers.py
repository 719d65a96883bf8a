"""`reasrm serve --workers`: a real sglang-router before several engines, which starts and ends with the gateway."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest
from reasrm_serving.engines import sglang_router as routing

from reasrm.errors import InputError
from tests.components import ROOT, Gateway, Server, answers, free_port
from tests.serving.traffic import new_pair, until

WORKER = ROOT / "tests" / "deploy" / "worker.py"


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Server]]:
    """Two engines with the routes that a router and a gateway use."""
    with ExitStack() as stack:
        yield [stack.enter_context(worker(free_port(), tmp_path / f"worker-{number}.log")) for number in range(2)]


def worker(port: int, log: Path) -> Server:
    command = [sys.executable, str(WORKER), str(port), "step-7"]
    return Server(command, port=port, log=log, ready=lambda: answers(f"http://127.0.0.1:{port}/health"), start_s=30)


def urls(workers: list[Server]) -> str:
    return ",".join(f"http://127.0.0.1:{worker.port}" for worker in workers)


def router_of(gateway: Gateway) -> psutil.Process:
    """The router's process; between it and the gateway is a guard."""
    [guard] = psutil.Process(gateway.pid).children()
    [router] = guard.children()
    return router


def judge(gateway: Gateway) -> httpx.Response:
    return httpx.post(f"{gateway.url}/v1/judge", json=new_pair(), timeout=60)


def is_ready(gateway: Gateway) -> bool:
    return answers(f"{gateway.url}/readyz")


def test_a_router_is_started_before_the_workers_and_ends_with_the_gateway(
    workers: list[Server], gateway_factory: Callable[..., Gateway]
) -> None:
    with gateway_factory("--workers", urls(workers), "--engine-key", "a-secret") as gateway:
        until(lambda: is_ready(gateway), within_s=60)
        answer = judge(gateway)
        assert (answer.status_code, answer.json()["winner"], answer.json()["weight_version"]) == (200, "A", "step-7")
        router = router_of(gateway)
        assert not any("a-secret" in argument for argument in router.cmdline()), "every user may read the arguments of a process"
        workers[0].kill()
        assert {judge(gateway).status_code for _ in range(6)} == {200}, "the router avoids a dead worker"
        router.kill()
        until(lambda: not router.is_running())
        until(lambda: judge(gateway).status_code == 200, within_s=60)  # it was started again
        router = router_of(gateway)
    until(lambda: not router.is_running(), within_s=15)


def test_a_gateway_that_is_killed_leaves_no_router_behind(workers: list[Server], gateway_factory: Callable[..., Gateway]) -> None:
    with gateway_factory("--workers", urls(workers)) as gateway:
        router = router_of(gateway)
        psutil.Process(gateway.pid).kill()
        until(lambda: not router.is_running(), within_s=15)


def test_workers_may_come_later(tmp_path: Path, gateway_factory: Callable[..., Gateway]) -> None:
    port = free_port()
    with gateway_factory("--workers", f"http://127.0.0.1:{port}") as gateway:
        assert httpx.get(f"{gateway.url}/readyz", timeout=30).status_code == 503
        with worker(port, tmp_path / "late.log"):
            until(lambda: is_ready(gateway), within_s=60)
            assert judge(gateway).json()["winner"] == "A"


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="pip install"), routing.router(["http://127.0.0.1:1"], None):
        pass


def test_workers_and_engine_exclude_each_other() -> None:
    command = [str(Path(sys.executable).parent / "reasrm"), "serve", "--engine", "http://a", "--workers", "http://b"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "reasrm: --workers: the router in front of them is the engine; leave out --engine\n"
