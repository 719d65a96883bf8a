"""JudgeBench (arXiv 2410.12784; github.com/ScalerLab/JudgeBench).

Two games per pair, the second with the order flipped; each counts +1, -1 or 0, and the pair is right only if the sum is above 0.
Overall is the accuracy over all pairs of one response model: its authors score the file of each model alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from reasrm.benchmarks.common import BOTH, RM_R1, Benchmark, Protocol, Score
from reasrm.metrics import Mean
from reasrm.results import Scored

#: A pair's source begins with one of these.
CATEGORIES = {
    "mmlu-pro": "Knowledge",
    "livebench-reasoning": "Reasoning",
    "livebench-math": "Math",
    "livecodebench": "Coding",
}


def score(rows: Iterable[Scored], protocol: Protocol) -> Score:
    """The table computed from judged rows."""
    sections: dict[str, list[float]] = {}
    subsets: dict[str, list[float]] = {}
    every: list[float] = []
    for row in rows:
        hit = protocol.hit(row, row.only) if row.only is not None else None
        if hit is None:
            continue
        category = next((name for start, name in CATEGORIES.items() if row.subset.startswith(start)), row.subset)
        sections.setdefault(category, []).append(hit)
        subsets.setdefault(row.subset, []).append(hit)
        every.append(hit)
    missing = tuple(name for name in CATEGORIES.values() if name not in sections)
    return Score(
        overall=Mean.of([]) if missing else Mean.of(every),
        sections={name: Mean.of(sections[name]) for name in (*CATEGORIES.values(), *sorted(sections)) if name in sections},
        subsets={name: Mean.of(hits) for name, hits in sorted(subsets.items())},
        missing=missing,
    )


BENCHMARK = Benchmark(
    name="judgebench",
    title="JudgeBench",
    paper="arXiv 2410.12784",
    schemas=("judgebench",),
    protocols=(Protocol("judgebench", "games", 0.0), RM_R1, BOTH),
    score=score,
    apart="response_model",
)
