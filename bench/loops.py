"""The gateway as RL loops see it: rollouts in groups of 8 through all frameworks' contracts at once, with an engine that answers at
once.

Every caller must be answered; then latency, the gateway's CPU per judgment, and its memory over repeats. At the end a client with
64 connections, as slime's is, asks for 64 prompts x 8 rollouts and for 96 x 2 with all second rollouts last: `starved` counts those
whose cohort was not ranked whole.
Run: python bench/loops.py [--rollouts 512] [--repeats 10] [--connections 256] [--redis]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import numpy as np
import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from tests.components import Gateway, Redis, Server, answers, free_port  # noqa: E402
from tests.serving.clients import SlimeRm  # noqa: E402

GROUP = 8
WORDS = ["the", "number", "so", "then", "we", "add", "carry", "digit", "sum", "result", "check", "again", "because", "line"]


def text(seed: int, words: int = 120) -> str:
    """A rollout's text, different for every seed."""
    return f"{seed}: " + " ".join(random.Random(seed).choices(WORDS, k=words))


def openai_response(response: str) -> dict[str, Any]:
    return {"output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": response}]}]}


#: contract -> (path, body of one rollout, the reward in its answer)
CONTRACTS: dict[str, tuple[str, Callable[[str, str], Any], Callable[[Any], Any]]] = {
    "openrlhf": (
        f"/get_reward?cohort={GROUP}",
        lambda prompt, response: {"query": [f"{prompt}\n{response}"], "prompts": [prompt], "labels": [None]},
        lambda body: body["rewards"][0] if not body["extra_logs"]["no_verdict"][0] else None,
    ),
    "slime": (
        f"/remote_rm?cohort={GROUP}&no_verdict=null&hold=0",  # this client does not retry; few_connections does
        lambda prompt, response: {"prompt": prompt, "response": response, "label": None},
        lambda body: body,
    ),
    "nemo_gym": (
        f"/verify?cohort={GROUP}&no_verdict=null",
        lambda prompt, response: {"responses_create_params": {"input": prompt}, "response": openai_response(response)},
        lambda body: body["reward"],
    ),
    "native": (
        "/v1/reward",
        lambda prompt, response: {"question": prompt, "response": response, "cohort": GROUP},
        lambda body: body["reward"],
    ),
}


@dataclass
class Seen:
    """The results that the callers saw."""

    requests: int = 0
    answered: int = 0
    nulls: int = 0
    seconds: list[float] = field(default_factory=list)


async def one(
    client: aiohttp.ClientSession, turn: asyncio.Semaphore, contract: str, prompt: str, response: str, seen: Seen
) -> None:
    path, body, reward = CONTRACTS[contract]
    seen.requests += 1
    async with turn:
        started = time.perf_counter()
        try:
            async with client.post(path, json=body(prompt, response)) as answer:
                status, content = answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            return
        seen.seconds.append(time.perf_counter() - started)
    if status == 200:
        seen.answered += 1
        seen.nulls += reward(json.loads(content)) is None


async def repeat(url: str, number: int, rollouts: int, connections: int, seen: Seen) -> None:
    """All contracts at once; the rollouts of a group follow each other, as a loop's generation step gives them."""
    turn = asyncio.Semaphore(connections)  # the clock of a request starts when it has a connection
    # not httpx, which looks at all its connections for every request: it was the slowest part here
    pool, patience = aiohttp.TCPConnector(limit=connections), aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(url, connector=pool, timeout=patience) as client, asyncio.TaskGroup() as tasks:
        for group in range(rollouts // GROUP):
            for place, contract in enumerate(CONTRACTS):
                seed = ((number * 1000 + group) * len(CONTRACTS) + place) * GROUP
                for rollout in range(GROUP):
                    tasks.create_task(one(client, turn, contract, f"Question {seed}?", text(seed + rollout), seen))


def metric(url: str, start: str) -> float:
    """The sum of the gateway's metrics whose lines begin with `start`."""
    lines = httpx.get(f"{url}/metrics", timeout=30).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(start))


def judgments(url: str) -> float:
    """The number of judgments that the engine has made."""
    return metric(url, "reasrm_probability_a_count")


async def few_connections(url: str, prompts: int, size: int, *, by_prompt: bool) -> int:
    """How many rollouts of a client with 64 connections and slime's retries got no reward of their whole group."""
    run = f"{prompts}x{size}"
    samples = [
        SimpleNamespace(prompt=f"Question {run} {prompt}?", response=text(prompt * size + rollout), label=None)
        for prompt in range(prompts)
        for rollout in range(size)
    ]
    if not by_prompt:
        samples = [samples[prompt * size + rollout] for rollout in range(size) for prompt in range(prompts)]
    whole = metric(url, 'reasrm_cohorts_total{end="full"}')
    async with SlimeRm(f"{url}/remote_rm?cohort={size}&run={run}&no_verdict=null") as slime:
        rewards = await asyncio.gather(*(slime.remote_rm(sample) for sample in samples), return_exceptions=True)
    without = sum(reward is None or isinstance(reward, BaseException) for reward in rewards)
    torn = len(samples) - size * int(metric(url, 'reasrm_cohorts_total{end="full"}') - whole)
    return max(without, torn)


def main() -> None:
    """Start the servers, run the loads, print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=512, help="by contract and repeat")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--redis", action="store_true", help="cohorts and cache in a Redis")
    settings = parser.parse_args()
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        port = free_port()
        script = [sys.executable, str(ROOT / "bench" / "instant.py"), str(port)]
        ready = lambda: answers(f"http://127.0.0.1:{port}/v1/models")  # noqa: E731
        engine = Server(script, port=port, log=Path(folder) / "engine.log", ready=ready, start_s=60)
        stack.callback(engine.stop)
        flags = ["--engine", f"http://127.0.0.1:{port}", "--cache-mb", "16", "--fence-secret", "bench"]
        if settings.redis:
            redis = Redis(Path(folder) / "redis.log")
            stack.callback(redis.stop)
            flags += ["--cache", redis.url]
        gateway = Gateway(Path(folder) / "gateway.log", *flags)
        stack.callback(gateway.stop)
        process = psutil.Process(gateway.pid)
        rss: list[float] = []
        seen = Seen()
        cpu = sum(process.cpu_times()[:2])
        print(f"{'repeat':>6}{'requests':>10}{'answered':>10}{'nulls':>7}{'p50 ms':>9}{'p99 ms':>9}{'seconds':>9}{'RSS MB':>8}")
        for number in range(settings.repeats):
            now, started = Seen(), time.perf_counter()
            asyncio.run(repeat(gateway.url, number, settings.rollouts, settings.connections, now))
            rss.append(process.memory_info().rss / 2**20)
            p50, p99 = np.percentile(now.seconds, [50, 99]) * 1000
            print(
                f"{number + 1:>6}{now.requests:>10}{now.answered:>10}{now.nulls:>7}{p50:>9.0f}{p99:>9.0f}"
                f"{time.perf_counter() - started:>9.1f}{rss[-1]:>8.0f}"
            )
            seen.requests, seen.answered, seen.nulls = (
                seen.requests + now.requests,
                seen.answered + now.answered,
                seen.nulls + now.nulls,
            )
            seen.seconds += now.seconds
        cpu = sum(process.cpu_times()[:2]) - cpu
        made = judgments(gateway.url)
        starved = asyncio.run(few_connections(gateway.url, 64, 8, by_prompt=True))
        starved += asyncio.run(few_connections(gateway.url, 96, 2, by_prompt=False))
    p50, p99 = np.percentile(seen.seconds, [50, 99]) * 1000
    figures = {
        "asked": seen.requests,  # the key of earlier runs
        "answered": seen.answered,
        "null_share": round(seen.nulls / max(1, seen.answered), 4),
        "p50_ms": round(float(p50), 1),
        "p99_ms": round(float(p99), 1),
        "rss_growth": round(rss[-1] / rss[min(2, len(rss) - 1)], 3),
        "judgments": int(made),
        "gateway_cpu_ms_per_judgment": round(1000 * cpu / max(1.0, made), 3),
        "redis": settings.redis,
        "starved": starved,
    }
    print(f"{made:.0f} judgments, {figures['gateway_cpu_ms_per_judgment']} ms of the gateway's CPU each")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
