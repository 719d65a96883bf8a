"""The cost of the gateway, side by side with alternatives in front of an engine.

(a) judgments per second through the gateway over the same prompts straight to the same SGLang, 64 at once;
(b) cached judgments per second against a plain FastAPI endpoint that returns the same bytes, and against LiteLLM's proxy with
    Redis caching; (c) uncached ones through an engine that answers at once, against LiteLLM, and the latency that is added;
(d) after many judgments: the gateway's memory and processor time, and the memory of Redis per judgment.

Run: python bench/gateway.py [--seconds 8] [--judgments 100000] [--without-litellm]
LiteLLM has an environment of its own: python -m venv .venv-litellm && .venv-litellm/bin/pip install 'litellm[proxy]==1.106.*'
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil
from redis import from_url as redis_client
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from bench.load import Seen, load, post  # noqa: E402
from reasrm.engine import HttpEngine  # noqa: E402
from reasrm.errors import EngineError  # noqa: E402
from reasrm.judging import pairwise  # noqa: E402
from reasrm.prompts import load_pack  # noqa: E402
from reasrm.types import Options, Pair  # noqa: E402
from tests.components import JUDGE, Gateway, Redis, Server, Sglang, answers, free_port  # noqa: E402
from tests.tiny_model import make_tiny_model  # noqa: E402

LITELLM = ROOT / ".venv-litellm" / "bin" / "litellm"
AT_ONCE = 64  # of (a)
CONNECTIONS = 32  # of (b) and (c)
KNOWN = 256  # different pairs of (b)
SECRET = "bench"
_fresh = itertools.count(10**6)


def pair_of(number: int, characters: int = 4096) -> dict[str, Any]:
    """A pair of about `characters` characters, different for every number."""
    filler = f"Consider case {number} with care. " * (characters // 3 // 30)
    return {"question": f"{number}: {filler}", "a": f"Yes, {number}. {filler}", "b": f"No, {number}. {filler}", "orders": "ab"}


def judging(number: int) -> bytes:
    """The request for a judgment."""
    return post("/v1/judge", json.dumps(pair_of(number)).encode())


def chatting(number: int) -> bytes:
    """The same texts as a chat completion, for LiteLLM and for the engine itself."""
    pair = pair_of(number)
    text = f"{pair['question']}\n\n{pair['a']}\n\n{pair['b']}"
    body = {"model": "judge", "messages": [{"role": "user", "content": text}], "max_tokens": 64, "temperature": 0}
    return post("/v1/chat/completions", json.dumps(body).encode())


class Bench:
    """The servers of one run, started when they are first needed."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack, self._folder = stack, folder
        self._names = itertools.count()

    def log(self) -> Path:
        return self._folder / f"{next(self._names)}.log"

    def start(self, server: Any) -> Any:
        return self._stack.enter_context(server)

    def python(self, script: str, *args: str) -> Server:
        port = free_port()
        command = [sys.executable, str(ROOT / "bench" / script), str(port), *args]
        return self.start(Server(command, port=port, log=self.log(), ready=lambda: listens(port), start_s=60))

    def gateway(self, *flags: str) -> Gateway:
        gateway = self.start(Gateway(self.log(), "--fence-secret", SECRET, *flags))
        until_ready(gateway)
        return gateway

    def litellm(self, engine: int, redis: Redis) -> Server:
        port, config = free_port(), self._folder / "litellm.json"
        model = {"model": "openai/judge", "api_base": f"http://127.0.0.1:{engine}/v1", "api_key": "none"}
        cache = {"type": "redis", "host": "127.0.0.1", "port": redis.port, "namespace": "litellm"}
        settings = {"cache": True, "cache_params": cache}
        proxy = {
            "model_list": [{"model_name": "judge", "litellm_params": model}],
            "litellm_settings": settings,
            "general_settings": {"dangerously_permit_weak_or_unset_master_key": True},  # on the loopback, as the gateway
        }
        config.write_text(json.dumps(proxy))
        command = [str(LITELLM), "--config", str(config), "--port", str(port), "--host", "127.0.0.1", "--num_workers", "1"]
        ready: Callable[[], bool] = lambda: answers(f"http://127.0.0.1:{port}/health/liveliness")  # noqa: E731
        return self.start(Server(command, port=port, log=self.log(), ready=ready, start_s=240))


def listens(port: int) -> bool:
    try:
        httpx.post(f"http://127.0.0.1:{port}/v1/judge", content=b"{}", timeout=2)
    except httpx.HTTPError:
        return False
    return True


def until_ready(gateway: Gateway) -> None:
    while not answers(f"{gateway.url}/readyz"):
        time.sleep(0.1)


def in_turn(rounds: int, *loads: Callable[[], Seen]) -> list[list[Seen]]:
    """Run each load `rounds` times in turn, so that a noisy moment affects all of them."""
    seen: list[list[Seen]] = [[] for _ in loads]
    for _ in range(rounds):
        for results, run_load in zip(seen, loads, strict=True):
            results.append(run_load())
    return seen


def rate(seen: Sequence[Seen]) -> float:
    return median(result.per_s for result in seen)


def p(seen: Sequence[Seen], percent: float) -> float:
    return median(result.ms(percent) for result in seen)


# --- (a) ------------------------------------------------------------------------------------------------------------------


def before_sglang(bench: Bench, count: int, rounds: int) -> dict[str, float]:
    """The same prompts through the gateway and straight to the engine, both with an empty prefix cache at the start."""
    model, prompts = (JUDGE, "world") if (JUDGE / "config.json").exists() else (make_tiny_model(Path(tempfile.mkdtemp())), "rubric")
    sglang = bench.start(Sglang(model, bench.log()))
    gateway = bench.gateway("--engine", sglang.url, "--prompts", prompts, "--cache", "none")
    bodies = [sglang_pair(number) for number in range(count)]
    straight = [post("/v1/chat/completions", body) for body in asyncio.run(payloads(sglang, prompts, bodies, gateway))]
    judged = [post("/v1/judge", json.dumps(body).encode()) for body in bodies]

    def run(port: int, requests: list[bytes]) -> Seen:
        httpx.post(f"{sglang.url}/flush_cache", timeout=30)
        return load(port, iter(requests), connections=AT_ONCE)

    run(sglang.port, straight)
    direct, through = in_turn(rounds, lambda: run(sglang.port, straight), lambda: run(gateway.port, judged))
    return {"direct_per_s": rate(direct), "through_per_s": rate(through), "engine_ratio": rate(through) / rate(direct)}


def sglang_pair(number: int) -> dict[str, Any]:
    a, b = 100 + number % 800, 100 + (number * 7) % 800
    right = a + b
    return {
        "question": f"Add {a}+{b}.",
        "a": f"The answer is {right}.",
        "b": f"The answer is {right + 1 + number % 8}.",
        "orders": "ab",
        "max_tokens": 96,
        "seed": number,
    }


async def payloads(sglang: Sglang, prompts: str, bodies: Sequence[dict[str, Any]], gateway: Gateway) -> list[bytes]:
    """The requests that the gateway sends to the engine for `bodies`, recorded from the gateway's own code."""
    from reasrm_serving.judging.fences import fence_key

    pack, key = load_pack(prompts), await fence_key(SECRET, None, Path("/nowhere"))
    sent: list[bytes] = []

    def record(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/chat/completions"):
            sent.append(request.content)
            raise httpx.ConnectError("recorded")
        reply = httpx.get(f"{sglang.url}{request.url.path}")
        return httpx.Response(reply.status_code, content=reply.content)

    async with HttpEngine(sglang.url, retries=0, http=httpx.AsyncClient(transport=httpx.MockTransport(record))) as engine:
        for body in bodies:
            fields = {name: value for name, value in body.items() if name not in ("question", "a", "b")}
            (ask,) = next(pairwise(Pair.of(body["question"], body["a"], body["b"]), Options(**fields), pack, key))
            with contextlib.suppress(EngineError):  # the request is recorded by now
                await engine.complete(ask)
    return sent


# --- (b) and (c) ----------------------------------------------------------------------------------------------------------


def before_instant(bench: Bench, seconds: float, rounds: int, *, litellm: bool) -> tuple[dict[str, float], Gateway, Redis]:
    """Cached and uncached, over an engine that answers at once; all of them cache in the same Redis."""
    redis, engine = bench.start(Redis(bench.log())), bench.python("instant.py")
    gateway = bench.gateway("--engine", f"http://127.0.0.1:{engine.port}", "--prompts", "rubric", "--cache", redis.url)
    body = httpx.post(f"{gateway.url}/v1/judge", json=pair_of(0), timeout=30).content
    kept = bench.log().with_suffix(".json")
    kept.write_bytes(body)
    plain = bench.python("plain.py", str(kept))
    proxy = bench.litellm(engine.port, redis) if litellm else None

    def cached(port: int, make: Callable[[int], bytes]) -> Callable[[], Seen]:
        requests = [make(number) for number in range(KNOWN)]
        load(port, iter(requests), connections=8)
        return lambda: load(port, itertools.cycle(requests), connections=CONNECTIONS, seconds=seconds)

    def uncached(port: int, make: Callable[[int], bytes], connections: int = CONNECTIONS) -> Callable[[], Seen]:
        return lambda: load(port, map(make, _fresh), connections=connections, seconds=seconds)

    loads = {
        "plain": cached(plain.port, judging),
        "gateway cached": cached(gateway.port, judging),
        "gateway uncached": uncached(gateway.port, judging),
        "one by one, engine": uncached(engine.port, chatting, 1),
        "one by one, gateway": uncached(gateway.port, judging, 1),
    }
    if proxy is not None:
        loads |= {
            "litellm cached": cached(proxy.port, chatting),
            "litellm uncached": uncached(proxy.port, chatting),
            "one by one, litellm": uncached(proxy.port, chatting, 1),
        }
    seen = dict(zip(loads, in_turn(rounds, *loads.values()), strict=True))
    figures = {f"{name} per_s": rate(results) for name, results in seen.items()}
    figures |= {
        "cached_vs_fastapi": rate(seen["gateway cached"]) / rate(seen["plain"]),
        "added_p50_ms": p(seen["one by one, gateway"], 50) - p(seen["one by one, engine"], 50),
        "added_p99_ms": p(seen["one by one, gateway"], 99) - p(seen["one by one, engine"], 99),
    }
    if proxy is not None:
        figures |= {
            "cached_vs_litellm": rate(seen["gateway cached"]) / rate(seen["litellm cached"]),
            "uncached_vs_litellm": rate(seen["gateway uncached"]) / rate(seen["litellm uncached"]),
            "litellm_added_p50_ms": p(seen["one by one, litellm"], 50) - p(seen["one by one, engine"], 50),
            "litellm_rss_mb": rss_mb(proxy),
        }
        proxy.stop()
    figures["cached_cores"] = cores(gateway, lambda: load(gateway.port, map(judging, [0] * 10_000), connections=CONNECTIONS))
    return figures, gateway, redis


# --- (d) ------------------------------------------------------------------------------------------------------------------


def rss_mb(server: Server) -> float:
    """The resident memory of a server with its children."""
    process = psutil.Process(server.pid)
    return sum(member.memory_info().rss for member in (process, *process.children(recursive=True))) / 2**20


def cores(server: Server, run: Callable[[], Seen]) -> float:
    """The cores that 1,000 answers per second would keep busy in `server`: its processor seconds for 1,000 answers."""

    def spent() -> float:
        times = psutil.Process(server.pid).cpu_times()
        return times.user + times.system

    before = spent()
    answered = run().count
    return (spent() - before) / answered * 1000


def memory(gateway: Gateway, redis: Redis, judgments: int) -> dict[str, float]:
    """The cost of many different judgments: memory and processor time of the gateway, and the memory of Redis per judgment."""

    def kept() -> int:
        with contextlib.closing(redis_client(redis.url)) as client:
            return client.info("memory")["used_memory"]

    before = kept()
    busy = cores(gateway, lambda: load(gateway.port, map(judging, itertools.islice(_fresh, judgments)), connections=CONNECTIONS))
    figures = {"rss_mb": rss_mb(gateway), "uncached_cores": busy}
    return figures | {"redis_gb_per_million": (kept() - before) / judgments / 1000}


# --- all of it ------------------------------------------------------------------------------------------------------------

ROWS = (
    ("engine_ratio", "gateway / SGLang itself, judgments per second, 64 at once", ">= 0.9"),
    ("direct_per_s", "  SGLang itself, per second", ""),
    ("through_per_s", "  through the gateway, per second", ""),
    ("cached_vs_fastapi", "cached judgments / a plain FastAPI endpoint", ">= 0.5"),
    ("cached_vs_litellm", "cached judgments / LiteLLM with Redis", ">= 15"),
    ("uncached_vs_litellm", "uncached judgments / LiteLLM", ">= 8"),
    ("plain per_s", "  plain FastAPI, per second", ""),
    ("gateway cached per_s", "  gateway, cached, per second", ""),
    ("gateway uncached per_s", "  gateway, uncached, per second", ""),
    ("litellm cached per_s", "  LiteLLM, cached, per second", ""),
    ("litellm uncached per_s", "  LiteLLM, uncached, per second", ""),
    ("added_p50_ms", "added latency, p50 (ms)", "<= 3"),
    ("added_p99_ms", "added latency, p99 (ms)", ""),
    ("litellm_added_p50_ms", "  LiteLLM adds, p50 (ms)", ""),
    ("rss_mb", "memory after the judgments (MiB)", ""),
    ("litellm_rss_mb", "  LiteLLM's memory (MiB)", ""),
    ("cached_cores", "cores for 1,000 cached judgments per second", ""),
    ("uncached_cores", "cores for 1,000 new judgments per second, without the engine", ""),
    ("redis_gb_per_million", "Redis' memory for a million verdicts (GB)", ""),
)
KEYS = (
    *("engine_ratio", "cached_vs_fastapi", "cached_vs_litellm", "uncached_vs_litellm"),
    *("added_p50_ms", "added_p99_ms", "rss_mb", "cached_cores", "uncached_cores", "redis_gb_per_million"),
)


def main() -> None:
    """Measure, print a table, and last the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds of each load of (b) and (c)")
    parser.add_argument("--rounds", type=int, default=3, help="of everything")
    parser.add_argument("--prompts", type=int, default=384, help="of (a)")
    parser.add_argument("--judgments", type=int, default=100_000, help="of (d)")
    parser.add_argument("--without-litellm", action="store_true")
    parser.add_argument("--without-sglang", action="store_true")
    args = parser.parse_args()
    if not args.without_litellm and not LITELLM.exists():
        sys.exit(
            "LiteLLM is not installed: python -m venv .venv-litellm && .venv-litellm/bin/pip install 'litellm[proxy]==1.106.*'"
        )
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ExitStack() as stack:
        bench = Bench(stack, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        figures, gateway, redis = before_instant(bench, args.seconds, args.rounds, litellm=not args.without_litellm)
        figures |= memory(gateway, redis, args.judgments)
        gateway.stop()
        if not args.without_sglang:
            figures |= before_sglang(bench, args.prompts, args.rounds)
    table = Table(
        title="reasrm gateway", caption=f"{os.cpu_count()} cores; {CONNECTIONS} connections, 4 KB prompts; medians of rounds"
    )
    for column in ("", "measured", "goal"):
        table.add_column(column, justify="left" if not column else "right")
    for key, what, goal in ROWS:
        if key in figures:
            table.add_row(what, f"{figures[key]:,.2f}", goal)
    Console().print(table)
    print(json.dumps({key: round(figures[key], 3) if key in figures else None for key in KEYS}))


if __name__ == "__main__":
    main()
