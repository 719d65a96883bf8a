"""Fixtures for every test. No test may connect beyond this machine."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.components import JUDGE, ROOT, Gateway, LlamaCpp, Redis, Server, Sglang, smollm2
from tests.tiny_model import make_tiny_model
from tests.workers import ByServer, long_first

# Before anything imports torch or a Hugging Face library; the two modules above do so when they are called.
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No process that a test starts reads or writes the home of the user who runs the tests.
_home = tempfile.TemporaryDirectory(prefix="reasrm-home-", ignore_cleanup_errors=True)
os.environ["HOME"] = _home.name

LOCAL_NAMES = {None, "", "localhost", "testserver", socket.gethostname()}


def _address(host: object) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that `host` contains, or None if it is a name."""
    try:
        return ipaddress.ip_address((host.decode() if isinstance(host, bytes) else str(host)).split("%")[0])
    except ValueError:
        return None


def _guard(event: str, args: tuple[Any, ...]) -> None:
    """Refuse to look up foreign names and to connect to foreign addresses, as on a machine without a network."""
    if event == "socket.getaddrinfo" and args[0] not in LOCAL_NAMES and _address(args[0]) is None:
        raise socket.gaierror(socket.EAI_NONAME, f"tests stay on this machine: {args[0]!r} is not looked up")
    if event == "socket.connect" and isinstance(args[1], tuple) and args[1][0] not in LOCAL_NAMES:
        address = _address(args[1][0])
        if address is None or not address.is_loopback:
            raise ConnectionRefusedError(f"tests stay on this machine: no connection to {args[1][0]!r}")


sys.addaudithook(_guard)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByServer:
    """Distribute the tests by the servers that they use."""
    return ByServer(config, log)


@pytest.hookimpl(trylast=True)  # after the random order is set
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests marked `gpu`, unless the marker expression names them; let workers begin with the longest tests."""
    left_out = [item for item in items if item.get_closest_marker("gpu") and "gpu" not in (config.option.markexpr or "")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    if hasattr(config, "workerinput"):
        long_first(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Show the end of the log of every server that a failed test used."""
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Server):
                report.sections.append((f"log of {name}", value.tail()))
    return report


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a chat model with random weights."""
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def judge_model(request: pytest.FixtureRequest) -> Path:
    """The folder of the embedded judge; of a model with random weights as long as there is none."""
    return JUDGE if (JUDGE / "config.json").exists() else request.getfixturevalue("tiny_model")


@pytest.fixture(scope="session")
def sglang_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Sglang]]:
    """`with sglang_factory(model, *flags) as server:` starts another SGLang, to kill or to give flags (15 s, 1.8 GB)."""
    yield from _factory(tmp_path_factory, "sglang", lambda log, model, *flags: Sglang(model, log, *flags))


@pytest.fixture(scope="session")
def sglang(sglang_factory: Callable[..., Sglang], judge_model: Path) -> Sglang:
    """The SGLang that the whole run shares. A test that kills it or moves its weights starts its own instead."""
    return sglang_factory(judge_model)


@pytest.fixture(scope="session")
def endless_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a chat model with random weights whose greedy replies have no end."""
    return make_tiny_model(tmp_path_factory.mktemp("endless") / "model", endless=True)


@pytest.fixture(scope="session")
def random_judge(sglang_factory: Callable[..., Sglang], endless_model: Path) -> Sglang:
    """The same with random weights. A test that kills it or moves its weights leaves it as it found it."""
    return sglang_factory(endless_model)


@pytest.fixture(scope="session")
def llama_cpp_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., LlamaCpp]]:
    """`with llama_cpp_factory(slots) as server:` starts another llama.cpp with SmolLM2 (2 s, 0.3 GB)."""
    model = smollm2()
    yield from _factory(tmp_path_factory, "llama_cpp", lambda log, *args: LlamaCpp(model, log, *args))


@pytest.fixture(scope="session")
def llama_cpp(llama_cpp_factory: Callable[..., LlamaCpp]) -> LlamaCpp:
    """The llama.cpp that the whole run shares, with two slots."""
    return llama_cpp_factory()


@pytest.fixture(scope="session")
def redis_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Redis]]:
    """`with redis_factory(*flags) as server:` starts another Redis, to kill or to give flags."""
    yield from _factory(tmp_path_factory, "redis", Redis)


@pytest.fixture(scope="session")
def _shared_redis(redis_factory: Callable[..., Redis]) -> Redis:
    return redis_factory()


@pytest.fixture
def redis_server(_shared_redis: Redis) -> Redis:
    """The Redis that the whole run shares, emptied for this test."""
    _shared_redis.flush()
    return _shared_redis


@pytest.fixture(scope="session")
def gateway_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Gateway]]:
    """`with gateway_factory("--engine", sglang.url, ...) as gateway:` starts `reasrm serve` with these flags."""
    yield from _factory(tmp_path_factory, "gateway", Gateway)


@pytest.fixture(scope="session")
def gateway(gateway_factory: Callable[..., Gateway]) -> Gateway:
    """The gateway that the whole run shares, as `reasrm serve` starts it without flags: with the embedded judge."""
    return gateway_factory()


def _factory(folders: pytest.TempPathFactory, name: str, start: Callable[..., Server]) -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def make(*args: object) -> Server:
        started.append(start(folders.mktemp(name) / f"{name}.log", *args))
        return started[-1]

    yield make
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of published benchmark files and real replies, which are not part of the repository."""
    folder = Path(os.environ.get("REASRM_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no published data at {folder}; name their folder in REASRM_SHARED_DATA")
    return folder
