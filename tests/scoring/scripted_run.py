"""A scoring run by a judge whose verdicts are a function of the pair."""

from __future__ import annotations

import asyncio
import hashlib
import random
from pathlib import Path

from reasrm.datasets import DataSet
from reasrm.scoring import Connected, How, Job, Limiter, score_with
from reasrm.types import Judgment, NoVerdict, Opinion, Options, Pair, Reading, Usage, Verdict


class HashJudge:
    """The better response is the one whose pair hashes so; every ninth pair has no verdict. Answers come in any order."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self.judged: list[Pair] = []

    async def judge(self, pair: Pair, options: Options) -> Judgment:
        self.judged.append(pair)
        await asyncio.sleep(random.random() * 2 * self._seconds)
        texts = [pair.question[-1].content, *sorted((pair.a[-1].content, pair.b[-1].content))]
        number = int.from_bytes(hashlib.sha256("\0".join(texts).encode()).digest()[:4], "big")
        if number % 9 == 0:
            outcome = NoVerdict(reason="no_answer")
        else:
            better_is_a = (number % 2 == 0) == (pair.a[-1].content == texts[1])
            probability = (0.5 + (number % 499 + 1) / 1000) if better_is_a else (0.5 - (number % 499 + 1) / 1000)
            outcome = Verdict(winner="A" if better_is_a else "B", probability_a=probability, source="logprobs")
        orders = ("ab", "ba") if options.orders == "both" else ("ab",)
        opinions = tuple(
            Opinion(order=order, outcome=outcome, reading=Reading(), reply=f"because {number}\n“{order}”") for order in orders
        )
        usage = Usage(prompt_tokens=number % 100, completion_tokens=number % 10, requests=len(orders))
        return Judgment(outcome=outcome, opinions=opinions, usage=usage, model="hash")


def job(source: Path, output: Path, **settings: bool) -> Job:
    return Job(DataSet(source), output, How(Options()), **settings)


def score_by_hash(source: Path, output: Path, seconds: float = 0.0, **settings: bool) -> HashJudge:
    judge = HashJudge(seconds)
    made = Limiter(64)
    asyncio.run(score_with(job(source, output, **settings), Connected(judge, {"model": "hash"}), limiter=made, quiet=True))
    return judge
