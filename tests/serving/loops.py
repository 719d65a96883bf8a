"""A gateway in this process, before an engine that answers at once: the view of an RL loop, without a model.

`ScriptedEngine` runs in a thread of the test; `ScriptedServer` is the same in a process of its own, which can be killed.

The engine is scripted because these tests are about groups, cohorts and contracts.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from reasrm_serving.app import create_app
from reasrm_serving.settings import Settings

from tests.components import Server, answers, free_port
from tests.serving.scripted_engine import ScriptedEngine

__all__ = ["ScriptedEngine", "ScriptedServer", "engine", "gateway", "serving", "url"]


class ScriptedServer(Server):
    """A `ScriptedEngine` in a process of its own, on the same port at every start."""

    def __init__(self, log: Path, version: str = "v1", pause_s: float = 0.0, context: int = 8192) -> None:
        port = free_port()
        self.url, self.name = f"http://127.0.0.1:{port}", f"127.0.0.1:{port}"
        command = [sys.executable, "-m", "tests.serving.scripted_engine", str(port), version, str(pause_s), str(context)]
        super().__init__(command, port=port, log=log, ready=lambda: answers(f"{self.url}/v1/models"), start_s=60)


@contextmanager
def serving(app: Any, port: int | None = None) -> Iterator[str]:
    """Serve `app` in a thread of its own, on `port` or a free one; yields its address."""
    port = port or free_port()
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
    )
    started = threading.Event()

    async def run() -> None:
        serve = asyncio.create_task(server.serve())
        while not server.started and not serve.done():
            await asyncio.sleep(0.01)
        started.set()
        await serve

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert started.wait(20)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(15)


@contextmanager
def gateway(engine: Any, folder: Path, at: int | None = None, **settings: Any) -> Iterator[str]:
    """A gateway before `engine`, or before several engines, on the port `at` or a free one; yields its address."""
    urls = [server.url for server in engine] if isinstance(engine, Sequence) else engine.url
    values = {"engine": urls, "cache": "memory", "state_dir": folder, "refresh_s": 0.2, "timeout_s": 20.0} | settings
    with serving(create_app(Settings.of(**values)), at) as url:
        yield url


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    """An engine that answers at once, by the strength of the texts."""
    scripted = ScriptedEngine()
    with serving(scripted.app) as scripted.url:
        yield scripted


@pytest.fixture
def url(engine: ScriptedEngine, tmp_path: Path) -> Iterator[str]:
    """A gateway before this engine."""
    with gateway(engine, tmp_path) as address:
        yield address
