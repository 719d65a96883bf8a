"""The share of a group's generated tokens that deliberation reuse saves on real SGLang, and its cost in accuracy.

Groups of N responses to held-out questions of the embedded judge's world: the right one and others with one digit changed. Each
group is ranked twice by the default method, with and without reuse; accuracy is over the comparisons that hold the right response.
bench/ranking.py ends with the same measurement; by itself it takes longer groups, and other replies:

  python bench/reuse.py --groups 12 --responses 8
  python bench/reuse.py --groups 2 --replies replies.jsonl    (the saving at the lengths of these replies; one "reply" per line)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "training")]

from reasrm_training.world.tasks import REASONING, generate  # noqa: E402

from reasrm.engine import HttpEngine  # noqa: E402
from reasrm.judging import EngineJudge  # noqa: E402
from reasrm.judging.group import Group, RankOptions  # noqa: E402
from reasrm.judging.ranking import rank  # noqa: E402
from reasrm.judging.swiss import readings_needed  # noqa: E402
from reasrm.parsing import deliberation_of  # noqa: E402
from reasrm.prompts import load_pack  # noqa: E402
from reasrm.types import Ranking  # noqa: E402
from tests.components import JUDGE, Sglang  # noqa: E402

MAX_TOKENS = 600


def groups(count: int, size: int) -> Iterator[Group]:
    """Groups whose first response is the right one."""
    made = 0
    for task in generate(seed=77, n=20 * count, split="heldout", families=list(REASONING)):
        rng = Random(task.id)
        right = task.quotes[0]
        digits = [i for i, character in enumerate(right) if character.isdigit()]
        wrong = {right[:i] + digit + right[i + 1 :] for i in digits for digit in "0123456789" if digit != right[i]}
        if len(wrong) < size - 1 or right not in task.chosen:
            continue
        texts = [task.chosen, *(task.chosen.replace(right, number) for number in rng.sample(sorted(wrong), size - 1))]
        yield Group.model_validate({"question": task.question, "responses": texts})
        made += 1
        if made == count:
            return


def accuracy(rankings: list[Ranking]) -> tuple[float, float]:
    """The share of comparisons with a verdict that the right response wins, with its standard error."""
    won = [
        (comparison.judgment.winner == "A") == (comparison.i == 0)
        for ranking in rankings
        for comparison in ranking.comparisons
        if 0 in (comparison.i, comparison.j) and comparison.judgment.winner is not None
    ]
    share = sum(won) / max(1, len(won))
    return share, math.sqrt(share * (1 - share) / max(1, len(won)))


async def measure(url: str, count: int, size: int, max_tokens: int) -> dict[str, float]:
    """Rank every group with and without reuse."""
    pack = load_pack("world")
    results: dict[bool, list[Ranking]] = {True: [], False: []}
    async with HttpEngine(url) as engine:
        judge = EngineJudge(engine, pack, b"")
        for group in groups(count, size):
            for reuse in (False, True):
                results[reuse].append(await rank(group, RankOptions(max_tokens=max_tokens, reuse=reuse), judge))
    tokens = {reuse: sum(ranking.usage.completion_tokens for ranking in results[reuse]) for reuse in results}
    best = {reuse: sum(ranking.order[:1] == (0,) for ranking in results[reuse]) / len(results[reuse]) for reuse in results}
    figures: dict[str, float] = {"reuse_token_ratio": round(tokens[True] / tokens[False], 4), "reuse_groups": len(results[True])}
    print(f"{'':<10}{'tokens':>9}{'accuracy':>10}{'+-':>8}{'best found':>12}")
    for reuse, name in ((False, "fresh"), (True, "reused")):
        share, stderr = accuracy(results[reuse])
        print(f"{name:<10}{tokens[reuse]:>9}{share:>10.4f}{stderr:>8.4f}{best[reuse]:>12.3f}")
        figures |= {f"accuracy_{name}": round(share, 4), f"accuracy_{name}_stderr": round(stderr, 4)}
    return figures


def projected(replies: Path, size: int) -> dict[str, float]:
    """The same ratio at the lengths (in words) of other replies: one whole reply, and the others without its deliberation."""
    readings = readings_needed(size)
    texts = [json.loads(line)["reply"] for line in replies.read_text(encoding="utf-8").splitlines()]
    parts = [(len(text.split()), len(part.split())) for text in texts if (part := deliberation_of(text)) is not None]
    whole, deliberation = sum(words for words, _ in parts), sum(words for _, words in parts)
    ratio = (whole + (readings - 1) * (whole - deliberation)) / (readings * whole)
    print(f"{len(parts)} of {len(texts)} replies deliberate first; the deliberation is {deliberation / whole:.1%} of their words")
    return {"projected_ratio": round(ratio, 4), "projected_replies": len(parts)}


@contextmanager
def served(judge: Path) -> Iterator[str]:
    """A real SGLang that serves the judge in a folder; yields its address."""
    if not (judge / "config.json").exists():
        sys.exit(f"there is no judge at {judge}: train one, or name its folder with --judge")
    with tempfile.TemporaryDirectory() as folder, Sglang(judge, Path(folder) / "sglang.log") as sglang:
        yield sglang.url


def main() -> None:
    """Start SGLang, measure, print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", type=Path, default=JUDGE)
    parser.add_argument("--groups", type=int, default=12)
    parser.add_argument("--responses", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=MAX_TOKENS)
    parser.add_argument("--replies", type=Path)
    arguments = parser.parse_args()
    figures = projected(arguments.replies, arguments.responses) if arguments.replies else {}
    with served(arguments.judge) as url:
        figures |= asyncio.run(measure(url, arguments.groups, arguments.responses, arguments.max_tokens))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
