"""The cost of offline scoring, side by side with the bare engine and with RM-R1's way of scoring.

(a) tokens per second of one SGLang under `reasrm score`, over those under a bare client that floods it with the same prompts;
(b) rows per second of a large file through an engine that answers at once, peak memory at 10k, 100k and 1M rows, and the journal's
    share of the time; (c) seconds of RM-R1's way (read all, one batch, write at the end) over those of `reasrm score`, at the same
    engine, and the work that each has saved when it is killed half way.

Run: python bench/scoring.py [--part all|engine|rows] [--pairs 200] [--rounds 3] [--rows 1000000]
(b) alone and short: python bench/scoring.py --part rows --rows 100000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from reasrm.datasets import DataSet  # noqa: E402
from reasrm.engine import HttpEngine  # noqa: E402
from reasrm.engine.request import payload_of  # noqa: E402
from reasrm.judging import EngineJudge  # noqa: E402
from reasrm.judging.opinions import ask_for  # noqa: E402
from reasrm.prompts import fence_key, load_pack  # noqa: E402
from reasrm.scoring import How, Job, JudgeAddress, score  # noqa: E402
from reasrm.types import Options  # noqa: E402
from tests.components import Sglang  # noqa: E402
from tests.tiny_model import make_tiny_model  # noqa: E402

PROMPTS = "world"  # the shortest pack: the CPU engine is slow, and its time is what is compared
BOTH_ROWS = 50_000  # of the run in both orders
FLOODS = (64, 256)  # requests at once of the bare client; the better one counts
JSON = {"content-type": "application/json"}
OPTIONS = Options(max_tokens=64)

#: (b) in a process of its own, so that its peak memory is its own.
SCRIPTED = """
import asyncio, json, sys, time
from pathlib import Path
from reasrm.datasets import DataSet
from reasrm.judging import EngineJudge
from reasrm.prompts import load_pack
from reasrm.scoring import Connected, How, Job, Limiter, score_with
from reasrm.scoring.judges import LimitedCompleter
from reasrm.scoring.journal import Journal
from reasrm.types import Completion, Options, Usage

REPLY = Completion(
    text="<type>Chat</type><rubric>- Accuracy (60%)\\n- Clarity (40%)</rubric><eval>It is.</eval><answer>[[A]]</answer>",
    usage=Usage(prompt_tokens=300, completion_tokens=60, requests=1), model="scripted", weight_version="0",
)

class AtOnce:
    async def complete(self, ask):
        await asyncio.sleep(0)
        return REPLY

spent = 0.0
def timed(method):
    def call(*args):
        global spent
        start = time.perf_counter()
        try:
            return method(*args)
        finally:
            spent += time.perf_counter() - start
    return call

Journal.append = timed(Journal.append)
source, output, orders = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
limiter = Limiter()
judge = EngineJudge(LimitedCompleter(AtOnce(), limiter), load_pack("rubric"), b"key")
start, processor = time.perf_counter(), time.process_time()
tally = asyncio.run(
    score_with(Job(DataSet(source), output, How(Options(orders=orders))), Connected(judge, {}), limiter=limiter, quiet=True)
)
seconds, processor = time.perf_counter() - start, time.process_time() - processor
status = Path("/proc/self/status").read_text()  # ru_maxrss would also count the process that started this one
peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
print(json.dumps({"rows": tally.rows, "seconds": seconds, "processor": processor, "journal": spent, "rss_mb": peak}))
"""


def write_pairs(path: Path, rows: int, words: int = 60) -> Path:
    """A file of `rows` pairs; every four share a question, as the comparisons of a real data set do."""
    with path.open("w") as file:
        for i in range(rows):
            question = f"Case {i // 4}: " + "which of these is the better plan, and why? " * (words // 10)
            row = {"id": str(i), "question": question, "a": f"Plan {i}. " + "step " * words, "b": f"Idea {i}. " + "part " * words}
            file.write(json.dumps(row | {"winner": "AB"[i % 2]}) + "\n")
    return path


async def flooded(engine: Sglang, source: Path, at_once: int) -> tuple[int, float]:
    """(completion tokens, seconds) of a bare client: the prompts are made beforehand, the answers only counted."""
    pack, key = load_pack(PROMPTS), fence_key()
    async with HttpEngine(engine.url) as made:
        info = await made.info()
        pairs = [entry.example.pair() for entry in DataSet(source) if entry.example]
        asks = [ask_for(pair, order, OPTIONS, pack, key) for pair in pairs for order in ("ab", "ba")]
        bodies = [json.dumps(payload_of(ask, info, f"bench-{at_once}-{i}")).encode() for i, ask in enumerate(asks)]
    places, tokens = asyncio.Semaphore(at_once), 0
    limits = httpx.Limits(max_connections=at_once)
    async with httpx.AsyncClient(timeout=600, limits=limits, trust_env=False) as http:

        async def one(body: bytes) -> None:
            nonlocal tokens
            async with places:
                answer = await http.post(f"{engine.url}/v1/chat/completions", content=body, headers=JSON)
                if answer.status_code != 200:
                    raise RuntimeError(answer.text)
                tokens += answer.json()["usage"]["completion_tokens"]

        start = time.perf_counter()
        await asyncio.gather(*(one(body) for body in bodies))
        return tokens, time.perf_counter() - start


async def scored(engine: Sglang, source: Path, folder: Path) -> tuple[int, float]:
    """(completion tokens, seconds) of `reasrm score`, from its survey to its output."""
    start = time.perf_counter()
    job = Job(DataSet(source), folder / "scored.jsonl", How(OPTIONS), restart=True)
    tally = await score(job, JudgeAddress(engine=engine.url, prompts=PROMPTS), quiet=True)
    return tally.completion_tokens, time.perf_counter() - start


async def rm_r1s_way(engine: Sglang, source: Path, folder: Path) -> tuple[int, float]:
    """(completion tokens, seconds) of: read all, judge all as one batch, write at the end."""
    start = time.perf_counter()
    entries = list(DataSet(source))
    async with HttpEngine(engine.url, timeout_s=600, connections=1024) as completer:
        judge = EngineJudge(completer, load_pack(PROMPTS), fence_key())
        judgments = await asyncio.gather(*(judge.judge(entry.example.pair(), OPTIONS) for entry in entries if entry.example))
    (folder / "batch.json").write_text(json.dumps([judgment.model_dump(mode="json") for judgment in judgments]))
    return sum(judgment.usage.completion_tokens for judgment in judgments), time.perf_counter() - start


async def at_an_engine(engine: Sglang, source: Path, folder: Path, rounds: int) -> dict[str, list[tuple[int, float]]]:
    """Every way in turn, `rounds` times, each with an empty prefix cache."""
    ways: dict[str, Callable[[], Awaitable[tuple[int, float]]]] = {
        **{f"bare client, {many} at once": lambda many=many: flooded(engine, source, many) for many in FLOODS},
        "reasrm score": lambda: scored(engine, source, folder),
        "RM-R1's way": lambda: rm_r1s_way(engine, source, folder),
    }
    seen: dict[str, list[tuple[int, float]]] = {name: [] for name in ways}
    await flooded(engine, source, 64)  # warm
    for _ in range(rounds):
        for name, way in ways.items():
            async with httpx.AsyncClient(trust_env=False) as http:
                await http.post(f"{engine.url}/flush_cache", timeout=30)
            seen[name].append(await way())
    return seen


def rows_left_when_killed(engine: Sglang, source: Path, folder: Path, seconds: float) -> int:
    """How many rows `reasrm score` has safe when it is killed after `seconds`."""
    output = folder / "killed.jsonl"
    reasrm = str(Path(sys.executable).parent / "reasrm")
    command = [reasrm, "score", str(source), "-o", str(output), "--engine", engine.url, "--prompts", PROMPTS, "--max-tokens", "64"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
    journal = output.with_name(output.name + ".journal")
    return max(0, len(journal.read_bytes().splitlines()) - 1) if journal.exists() else 0


def at_once(folder: Path, rows: int, orders: str) -> dict[str, float]:
    """(b) for one size."""
    source = write_pairs(folder / f"{rows}.jsonl", rows)
    output = folder / f"{rows}.{orders}.out.jsonl"
    command = [sys.executable, "-c", SCRIPTED, str(source), str(output), orders]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    source.unlink()
    output.unlink()
    return json.loads(done.stdout)


def engine_part(pairs: int, rounds: int, folder: Path, console: Console) -> dict[str, Any]:
    """(a) and (c): the figures at one SGLang."""
    engine = Sglang(make_tiny_model(folder / "model"), folder / "sglang.log")
    try:
        source = write_pairs(folder / "pairs.jsonl", pairs, words=20)
        seen = asyncio.run(at_an_engine(engine, source, folder, rounds))
        batch_s = median(seconds for _, seconds in seen["RM-R1's way"])
        safe = rows_left_when_killed(engine, source, folder, 2.0 + batch_s / 2)
    finally:
        engine.stop()
    rates = {name: median(tokens / seconds for tokens, seconds in runs) for name, runs in seen.items()}
    bare = max(rate for name, rate in rates.items() if name.startswith("bare"))
    table = Table("at the same SGLang", "tokens/s", "share", "seconds", title=f"{pairs} pairs, both orders", title_justify="left")
    for name, runs in seen.items():
        table.add_row(name, f"{rates[name]:,.0f}", f"{rates[name] / bare:.3f}", f"{median(s for _, s in runs):.2f}")
    console.print(table)
    console.print(f"killed half way: reasrm score keeps {safe} of {pairs} rows, RM-R1's way none\n")
    scored_s = median(seconds for _, seconds in seen["reasrm score"])
    return {
        "engine_share": round(rates["reasrm score"] / bare, 3),
        "vs_rm_r1": round(batch_s / scored_s, 3),
        "rows_safe_when_killed_half_way": round(safe / pairs, 3),
    }


def rows_part(rows: int, folder: Path, console: Console) -> dict[str, Any]:
    """(b): the figures at an engine that answers at once, up to `rows` rows."""
    sizes = [size for size in (10_000, 100_000) if size < rows] + [rows]
    runs = {size: at_once(folder, size, "ab") for size in sizes}
    both = at_once(folder, min(rows, BOTH_ROWS), "both")
    table = Table("rows, engine that answers at once", "rows/s", "µs of processor a row", "peak MB", "journal")
    for size, run in [*((f"{size:,}", run) for size, run in runs.items()), (f"{both['rows']:,}, both orders", both)]:
        rate, per_row, share = run["rows"] / run["seconds"], 1e6 * run["processor"] / run["rows"], run["journal"] / run["seconds"]
        table.add_row(size, f"{rate:,.0f}", f"{per_row:.0f}", f"{run['rss_mb']:.0f}", f"{share:.1%}")
    console.print(table)
    smallest, largest = runs[sizes[0]], runs[sizes[-1]]
    return {
        "rows_per_s": round(largest["rows"] / largest["seconds"]),
        "rows_per_s_both_orders": round(both["rows"] / both["seconds"]),
        "processor_us_per_row": round(1e6 * largest["processor"] / largest["rows"]),
        "rss_ratio_1m_over_10k": round(largest["rss_mb"] / smallest["rss_mb"], 3),
        "rss_mb": round(largest["rss_mb"]),
        "journal_share": round(largest["journal"] / largest["seconds"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--part", choices=("all", "engine", "rows"), default="all", help="engine: (a) and (c); rows: (b), without SGLang"
    )
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1_000_000)
    given = parser.parse_args()
    console = Console()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if given.part != "rows":
            figures |= engine_part(given.pairs, given.rounds, folder, console)
        if given.part != "engine":
            figures |= rows_part(given.rows, folder, console)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
