"""A gateway finds out what its engines can do, and nothing waits for that."""

from __future__ import annotations

import copy
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from tests.engine.recorded import LLAMA_CPP, LM_STUDIO, OPENAI, STRICT, Recorded, serving
from tests.serving.loops import gateway
from tests.serving.traffic import until

PAIR = {"question": "What is 17 + 25?", "a": "42", "b": "43"}


def fresh(says: Recorded, **changes: Any) -> Recorded:
    return replace(copy.deepcopy(says), **changes)


def abilities(url: str) -> dict[str, Any]:
    """What the gateway says of its first engine."""
    [judge] = httpx.get(f"{url}/v1/models", timeout=20).raise_for_status().json()["data"]
    return judge["engines"][0]["abilities"]


def test_the_gateway_says_what_its_engine_can_do_and_judges_by_it(tmp_path: Path) -> None:
    with serving(fresh(LLAMA_CPP)) as engine, gateway(engine, tmp_path) as url:
        until(lambda: abilities(url)["probed"])
        assert {"kind": "llama.cpp", "slots": 2, "continues": True, "echoes": True}.items() <= abilities(url).items()
        judgment = httpx.post(f"{url}/v1/judge", json=PAIR | {"rubric": "1. right (100%)", "orders": "ab"}, timeout=20).json()
        assert judgment["winner"] == "A"
        [judge] = httpx.get(f"{url}/v1/models", timeout=20).json()["data"]
        assert 0 <= judge["judgment_seconds"] < 20


def test_another_server_at_the_address_is_probed_again(tmp_path: Path) -> None:
    with serving(fresh(STRICT)) as engine, gateway(engine, tmp_path) as url:
        until(lambda: abilities(url)["probed"])
        assert (abilities(url)["continues"], abilities(url)["logprobs"]) == (False, False)
        engine.says = fresh(LLAMA_CPP)
        until(lambda: abilities(url)["kind"] == "llama.cpp" and abilities(url)["probed"])
        assert (abilities(url)["continues"], abilities(url)["logprobs"]) == (True, True)


def test_an_engine_that_is_busy_or_fails_the_probe_is_ready_all_the_same(tmp_path: Path) -> None:
    hold = threading.Event()
    with serving(fresh(LM_STUDIO, hold=hold)) as engine, gateway(engine, tmp_path) as url:
        until(lambda: engine.says.requests)  # the probe waits in the engine's queue
        assert httpx.get(f"{url}/readyz", timeout=20).json()["status"] == "ready"
        assert abilities(url)["probed"] is False
        hold.set()
        until(lambda: abilities(url)["probed"])
    broken = fresh(OPENAI, refuse=lambda body: (500, {"error": "boom"}) if "Count" in body["messages"][0]["content"] else None)
    with serving(broken) as engine, gateway(engine, tmp_path / "other") as url:
        until(lambda: engine.says.requests)
        assert httpx.get(f"{url}/readyz", timeout=20).json()["status"] == "ready"
        assert httpx.post(f"{url}/v1/judge", json=PAIR, timeout=20).status_code == 200
