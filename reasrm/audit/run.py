"""The audit judges one sample several times under small changes, and compares the verdicts.

Reproducibility: the same input once more, by another seed, and under load. Internal consistency: orders swapped, triples in a
circle, a response against itself, names signed below, empty words added. External consistency: labels, with calibration.
Generalisation: the same by domain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import combinations

from reasrm.audit.findings import Finding
from reasrm.audit.probes import equal, named, padded, triples
from reasrm.datasets import Example
from reasrm.metrics import Calibration, Share, cyclic_share
from reasrm.types import Judgment, NoVerdict, Options, Pair, PairJudge, Side

LOAD = 64  # in flight at once, for the test under load
CALM = 4

Judged = Callable[[Sequence[Pair], Options, int], Awaitable[list[Judgment]]]


async def audit(examples: Sequence[Example], judge: PairJudge, options: Options, *, report: Callable[[str], None]) -> list[Finding]:
    """Judge the first comparison of each of `examples` as the four senses require. `report` gets a line before each step."""
    pairs = [example.pair(*(example.comparisons_to_judge or ((0, 1),))[0]) for example in examples]

    async def judged(pairs: Sequence[Pair], how: Options, at_once: int = CALM) -> list[Judgment]:
        return await _judged(pairs, judge, how, at_once)

    report(f"judging {len(pairs)} pairs")
    first = await judged(pairs, options, CALM)
    findings = await _reproducibility(pairs, first, options, judged, report)
    findings += await _internal(examples, pairs, first, options, judged, report)
    return findings + _external(examples, first) + _by_domain(examples, first)


async def _judged(pairs: Sequence[Pair], judge: PairJudge, options: Options, at_once: int) -> list[Judgment]:
    places = asyncio.Semaphore(at_once)

    async def one(pair: Pair) -> Judgment:
        async with places:
            return await judge.judge(pair, options)

    return list(await asyncio.gather(*(one(pair) for pair in pairs)))


async def _reproducibility(
    pairs: Sequence[Pair], first: Sequence[Judgment], options: Options, judged: Judged, report: Callable[[str], None]
) -> list[Finding]:
    report("the same again, by another seed, and under load")
    sampled = options.model_copy(update={"temperature": options.temperature or 1.0})
    ways = [
        ("same verdict, asked again", first, await judged(pairs, options, CALM)),
        (f"same verdict, {LOAD} at once", first, await judged(pairs, options, LOAD)),
        (
            f"same verdict, other seed (temperature {sampled.temperature:g})",
            await judged(pairs, sampled, CALM),
            await judged(pairs, sampled.model_copy(update={"seed": options.seed + 1}), CALM),
        ),
    ]
    cached = "answered from the gateway's cache; audit the engine itself" if any(judgment.cached for judgment in ways[0][2]) else ""
    findings = [Finding.of_share("reproducibility", name, _agreement(a, b), note=cached) for name, a, b in ways]
    moved = _moves(first, ways[0][2])
    findings.append(Finding.of_mean("reproducibility", "mean change of probability, asked again", moved, 0.0))
    return findings


async def _internal(
    examples: Sequence[Example],
    pairs: Sequence[Pair],
    first: Sequence[Judgment],
    options: Options,
    judged: Judged,
    report: Callable[[str], None],
) -> list[Finding]:
    report("swapped, signed, padded, against itself, in triples")
    both = options.model_copy(update={"orders": "both"})
    orders = first if options.orders == "both" else await judged(pairs, both, CALM)
    swap = Share()
    for judgment in orders:
        swap.add(judgment.order_consistent)
    sense = "internal consistency"
    findings = [
        Finding.of_share(sense, "both orders name the same response", swap),
        await _cycles(examples, both, judged),
    ]
    once = options.model_copy(update={"orders": "ab"})  # both orders of a response against itself are even by construction
    alone = await judged([equal(pair) for pair in pairs], once, CALM)
    leans = [lean for judgment in alone if (lean := _lean(judgment)) is not None]
    findings.append(Finding.of_mean(sense, "lean between a response and itself", leans, 0.0, "|2 P(A) - 1|, read in one order"))
    for name, probe in (("signed names change nothing", named), ("empty words change nothing", padded)):
        made = [probe(pair) for pair in pairs]
        one = await judged([a for a, _ in made], both, CALM)
        two = await judged([b for _, b in made], both, CALM)
        findings.append(Finding.of_share(sense, name, _agreement(one, two)))
    return findings


async def _cycles(examples: Sequence[Example], options: Options, judged: Judged) -> Finding:
    """The share of triples without a cycle (A beats B, B beats C, C beats A)."""
    sense, test = "internal consistency", "triples that are no circle"
    triads = triples(examples, limit=max(20, len(examples) // 2))
    edges = [Pair(question=question, a=three[i], b=three[j]) for question, three in triads for i, j in combinations(range(3), 2)]
    answers = await judged(edges, options, CALM)
    share = Share()
    for at in range(0, len(answers), 3):
        ends = zip(combinations("xyz", 2), answers[at : at + 3], strict=True)
        wins = [(i, j) if judgment.winner == "A" else (j, i) for (i, j), judgment in ends if judgment.winner is not None]
        cyclic = cyclic_share(wins)
        share.add(None if cyclic is None else cyclic == 0.0)
    note = "" if triads else "no question of this data has three responses"
    return Finding.of_share(sense, test, share, note=note)


def _external(examples: Sequence[Example], judgments: Sequence[Judgment]) -> list[Finding]:
    right, calibration = Share(), Calibration()
    for example, judgment in zip(examples, judgments, strict=True):
        hit = _hit(example, judgment)
        right.add(hit)
        if hit is not None and judgment.probability_a is not None:
            calibration.add(max(judgment.probability_a, 1 - judgment.probability_a), hit)
    sense = "external consistency"
    error = calibration.error
    calibrated = Finding(
        sense=sense,
        test="calibration error",
        value=error,
        low=error,
        high=error,
        n=calibration.n,
        ideal=0.0,
        note="expected, ten bins",
    )
    verdicts = Share(sum(judgment.winner is not None for judgment in judgments), len(judgments))
    return [
        Finding.of_share(sense, "agrees with the label", right),
        calibrated,
        Finding.of_share(sense, "gives a verdict", verdicts),
    ]


def _by_domain(examples: Sequence[Example], judgments: Sequence[Judgment]) -> list[Finding]:
    shares: dict[str, Share] = {}
    for example, judgment in zip(examples, judgments, strict=True):
        shares.setdefault(example.subset or "all", Share()).add(_hit(example, judgment))
    named = sorted(shares.items())
    return [Finding.of_share("generalisation", f"agrees with the label: {name}", share) for name, share in named]


def _hit(example: Example, judgment: Judgment) -> bool | None:
    i, j = (example.comparisons_to_judge or ((0, 1),))[0]
    preferred: Side | None = example.preferred(i, j)
    return None if preferred is None or judgment.winner is None else judgment.winner == preferred


def _lean(judgment: Judgment) -> float | None:
    """How far a judgment leans to a side; 0 for an even split, None for any other judgment without a verdict."""
    if isinstance(judgment.outcome, NoVerdict):
        return 0.0 if judgment.outcome.reason == "split" else None
    return judgment.outcome.margin


def _agreement(one: Sequence[Judgment], two: Sequence[Judgment]) -> Share:
    """The share of pairs whose two judgments name the same side, over those with two verdicts and no cached second judgment."""
    share = Share()
    for a, b in zip(one, two, strict=True):
        compared = a.winner is not None and b.winner is not None and not b.cached
        share.add(a.winner == b.winner if compared else None)
    return share


def _moves(one: Sequence[Judgment], two: Sequence[Judgment]) -> list[float]:
    both = [(a.probability_a, b.probability_a) for a, b in zip(one, two, strict=True) if not b.cached]
    return [abs(a - b) for a, b in both if a is not None and b is not None]
