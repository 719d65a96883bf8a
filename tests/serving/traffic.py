"""The requests that tests send to a gateway, and the counts that an engine keeps of them."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.components import Gateway, Sglang
from tests.tiny_model import CHAINS

_numbers = itertools.count(int(time.time() * 1000))


def new_pair(**more: Any) -> dict[str, Any]:
    """A pair that was never judged before. The beginning of the reply makes the endless model answer A (see `CHAINS`)."""
    number = next(_numbers)
    return {
        "question": f"What is {number} + 1?",
        "a": str(number + 1),
        "b": str(number + 2),
        "orders": "ab",
        "deliberation": CHAINS[0][0],
        "max_tokens": 8,
    } | more


def long_pair(**more: Any) -> dict[str, Any]:
    """A pair whose judgment takes at least 15 seconds: the replies of random weights do not end."""
    return new_pair(max_tokens=6000, **more)


@contextmanager
def hanging_on(url: str, body: dict[str, Any]) -> Iterator[None]:
    """A caller that requests `url`, waits while the block runs, and then hangs up."""
    with subprocess.Popen(["curl", "-sN", url, "-d", json.dumps(body)], stdout=subprocess.DEVNULL) as caller:
        try:
            yield
        finally:
            caller.kill()


def finished(engine: Sglang) -> int:
    """How many requests the engine has finished."""
    return int(metric(engine, "sglang:num_requests_total"))


def running(engine: Sglang) -> int:
    """How many requests the engine is working on."""
    return int(metric(engine, "sglang:num_running_reqs"))


def metric(server: Any, name: str) -> float:
    """A metric of a server, summed over its labels; 0 where it has none yet."""
    lines = httpx.get(f"{server.url}/metrics", follow_redirects=True, timeout=10).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.partition(" ")[0].partition("{")[0] == name)


def version(gateway: Gateway) -> str:
    """The weight version that a gateway reports for its engine."""
    return httpx.get(f"{gateway.url}/v1/models", timeout=30).json()["data"][0]["weight_version"]


def until(condition: Callable[[], bool], *, within_s: float = 20.0) -> None:
    """Return as soon as `condition` is true; fail when it never is."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not so within {within_s:g} s"
        time.sleep(0.02)
