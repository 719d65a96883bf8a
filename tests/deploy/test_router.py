"""A gateway behind a real sglang-router, as in the overlay `scaled`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.components import Gateway, Server, answers, free_port
from tests.deploy.manifests import KUBERNETES, documents

WORKER = Path(__file__).with_name("worker.py")
PAIR = {"question": "Is 7 prime?", "a": "Yes.", "b": "No.", "orders": "ab"}


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Server]:
    """sglang-router before two workers of the same weights."""
    ports = [free_port(), free_port()]
    workers = [worker(port, tmp_path / f"worker-{port}.log") for port in ports]
    port, urls = free_port(), [f"http://127.0.0.1:{number}" for number in ports]
    command = [sys.executable, "-m", "sglang_router.launch_router", "--host", "127.0.0.1", "--port", str(port),
               "--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port()), "--worker-urls", *urls]  # fmt: skip
    ready = f"http://127.0.0.1:{port}/readiness"
    with Server(command, port=port, log=tmp_path / "router.log", ready=lambda: answers(ready), start_s=60) as server:
        yield server
    for process in workers:
        process.stop()


def worker(port: int, log: Path) -> Server:
    command = [sys.executable, str(WORKER), str(port), "step-7"]
    return Server(command, port=port, log=log, ready=lambda: answers(f"http://127.0.0.1:{port}/health"), start_s=30)


def test_judgments_through_a_router_know_their_weights_and_so_are_cached(router: Server, tmp_path: Path) -> None:
    with Gateway(tmp_path / "gateway.log", "--engine", f"http://127.0.0.1:{router.port}") as gateway, httpx.Client() as http:
        models = http.get(f"{gateway.url}/v1/models").json()
        assert models["data"][0]["weight_version"] == "step-7"
        first = http.post(f"{gateway.url}/v1/judge", json=PAIR).json()
        again = http.post(f"{gateway.url}/v1/judge", json=PAIR).json()
    assert (first["weight_version"], first["cached"]) == ("step-7", False), first
    assert again["cached"] is True


def test_the_overlay_gives_the_router_flags_that_it_has() -> None:
    from sglang_router.launch_router import parse_router_args

    router = next(
        manifest for manifest in documents((KUBERNETES / "scaled" / "router.yaml").read_text()) if manifest["kind"] == "Deployment"
    )
    args = parse_router_args(router["spec"]["template"]["spec"]["containers"][0]["args"])
    assert args.service_discovery and args.selector == {"app.kubernetes.io/name": "sglang"}
    assert (
        args.service_discovery_namespace == yaml.safe_load((KUBERNETES / "scaled" / "kustomization.yaml").read_text())["namespace"]
    )


def test_the_image_has_the_version_that_is_tested_here() -> None:
    from importlib.metadata import version

    dockerfile = (KUBERNETES.parent / "router.Dockerfile").read_text()
    assert f"sglang-router=={version('sglang-router')}" in dockerfile
    images = yaml.safe_load((KUBERNETES / "scaled" / "kustomization.yaml").read_text())["images"]
    assert {"reasrm-router": version("sglang-router")}.items() <= {image["name"]: image["newTag"] for image in images}.items()
