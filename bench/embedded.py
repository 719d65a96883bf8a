"""The judge that comes with reasrm in llama.cpp, against the engine of transformers that the gateway had before (commit 74fa614).

Both gateways run at the same time and work turn by turn: each judges the same block of held-out pairs of the generated world, in
both orders, without a cache, with 32 requests at once, while the other is idle. The memory is that of the gateway with its
engine, after the last pair (shared pages count once).

Run: python bench/embedded.py [--pairs 400] [--blocks 4] [--concurrency 32]. It needs the history of git, and two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "training")]
BEFORE = "74fa614"
START_S = 120.0
#: What is wanted of each key of the last line.
WANTED = {"vs_transformers": ">= 2.0", "same_verdicts": ">= 0.995", "max_p_difference": "<= 0.01", "memory_share": "<= 0.85"}


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """The files of an earlier commit."""
    with tempfile.TemporaryDirectory(prefix="reasrm-bench-") as folder:
        path = Path(folder) / commit
        git = ("git", "-C", str(ROOT), "worktree")
        subprocess.run([*git, "add", "--quiet", "--detach", str(path), commit], check=True)
        try:
            yield path
        finally:
            subprocess.run([*git, "remove", "--force", str(path)], check=True)


@contextmanager
def gateway(checkout: Path, port: int) -> Iterator[psutil.Process]:
    """`reasrm serve` of a checkout, without a cache, until the end of the `with`."""
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(checkout), str(checkout / "serving")]), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-m", "reasrm.cli", "serve", "--port", str(port), "--cache", "none", "--recent", "0"]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, env=environ, cwd=checkout, stderr=log) as process,
    ):
        try:
            deadline = time.monotonic() + START_S
            while not is_ready(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise SystemExit(f"the gateway of {checkout} did not start:\n{log.read().decode()}")
                time.sleep(0.1)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


def is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


async def judge(port: int, pairs: Sequence[dict[str, str]], concurrency: int) -> tuple[list[dict[str, Any]], float]:
    """The judgments of `pairs`, and the seconds that they took together."""
    turns = asyncio.Semaphore(concurrency)
    limits = httpx.Limits(max_connections=concurrency)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=300, limits=limits) as http:

        async def one(pair: dict[str, str]) -> dict[str, Any]:
            async with turns:
                answer = await http.post("/v1/judge", json=pair)
            return answer.raise_for_status().json()

        started = time.perf_counter()
        judgments = await asyncio.gather(*map(one, pairs))
        return judgments, time.perf_counter() - started


def megabytes(process: psutil.Process) -> float:
    """The memory of a process with its children; pages that they share count once."""
    return sum(each.memory_full_info().pss for each in (process, *process.children(recursive=True))) / 1e6


def read(judgment: dict[str, Any]) -> list[float | None]:
    """P(A) in each order; None where there is no verdict. What a judgment makes of both orders has changed since the commit."""
    return [opinion["outcome"].get("probability_a") for opinion in judgment["opinions"]]


def side(probability: float | None) -> str | None:
    return None if probability is None else "A" if probability > 0.5 else "B"


def heldout(count: int) -> list[dict[str, Any]]:
    """Held-out pairs of the world, as requests, each with its better side."""
    from reasrm_training.config.recipes import load_recipe
    from reasrm_training.data.from_world import generated_examples

    examples = generated_examples(load_recipe("tiny"), "heldout")[:count]
    return [example.pair.model_dump(mode="json", exclude_none=True) | {"better": example.winner} for example in examples]


def measure(given: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Rates, judgments and memory of both, by name."""
    pairs = [{name: pair[name] for name in ("question", "a", "b")} for pair in given.tasks]
    size = len(pairs) // given.blocks
    results: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        servers = {"transformers": (stack.enter_context(worktree(BEFORE)), 18961), "llama.cpp": (ROOT, 18962)}
        for name, (checkout, port) in servers.items():
            process = stack.enter_context(gateway(checkout, port))
            results[name] = {"process": process, "port": port, "rates": [], "judgments": []}
            asyncio.run(judge(port, pairs[:4], 4))  # warm
        for block in range(given.blocks):
            part = pairs[block * size : (block + 1) * size]
            for name, result in results.items():
                judgments, seconds = asyncio.run(judge(result["port"], part, given.concurrency))
                result["rates"].append(len(part) / seconds)
                result["judgments"] += judgments
                print(f"block {block + 1} {name}: {len(part) / seconds:.2f} judgments/s", file=sys.stderr, flush=True)
        for result in results.values():
            result["memory"] = megabytes(result.pop("process"))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--concurrency", type=int, default=32)
    given = parser.parse_args()
    given.tasks = heldout(given.pairs)
    results = measure(given)
    before, after = results["transformers"], results["llama.cpp"]
    print(f"\n{'engine':14}{'judgments/s':>24}{'right':>12}{'memory':>12}")
    for name, result in results.items():
        rates = ", ".join(f"{rate:.1f}" for rate in result["rates"])
        right = sum(one["winner"] == task["better"] for one, task in zip(result["judgments"], given.tasks, strict=False))
        print(f"{name:14}{rates:>24}{right:>6} of {len(result['judgments'])}{result['memory']:>9.0f} MB")
    both = list(zip(before["judgments"], after["judgments"], strict=True))
    ratios = [new / old for old, new in zip(before["rates"], after["rates"], strict=True)]
    readings = [[read(old), read(new)] for old, new in both]
    differences = [abs(one - two) for old, new in readings for one, two in zip(old, new, strict=True) if None not in (one, two)]
    values = {
        "vs_transformers": statistics.median(ratios),
        "same_verdicts": sum(list(map(side, old)) == list(map(side, new)) for old, new in readings) / len(both),
        "max_p_difference": max(differences, default=1.0),
        "memory_share": after["memory"] / before["memory"],
    }
    print("\n" + "\n".join(f"{key:18}{value:>10.4f}   wanted {WANTED[key]}" for key, value in values.items()))
    print(json.dumps({key: round(value, 4) for key, value in values.items()}))


if __name__ == "__main__":
    main()
