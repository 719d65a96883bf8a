"""PPE, Preference Proxy Evaluations (arXiv 2410.14872; github.com/lmarena/PPE).

Correctness: for each prompt the share of its conflict pairs that the judge orders as the ground truth does, the mean over prompts,
then the mean over the benchmarks it is made of. Human preference: accuracy over the rows that are not ties.
"""

from __future__ import annotations

from collections.abc import Iterable

from reasrm.benchmarks.common import BOTH, RM_R1, Benchmark, Protocol, Score
from reasrm.metrics import Mean, average
from reasrm.results import Scored

SECTIONS = ("Correctness", "Human preference")


def score(rows: Iterable[Scored], protocol: Protocol) -> Score:
    """The table computed from judged rows. Rows of human preference have one comparison, rows of correctness have many."""
    correctness: dict[str, list[float]] = {}
    human: dict[str, list[float]] = {}
    for row in rows:
        hits = [hit for compared in row.comparisons if (hit := protocol.hit(row, compared)) is not None]
        if row.error or not hits:
            continue
        kind = human if len(row.lengths) == 2 else correctness
        kind.setdefault(row.subset, []).append(sum(hits) / len(hits))
    sections: dict[str, Mean] = {}
    if correctness:
        sections["Correctness"] = average([Mean.of(values) for values in correctness.values()])
    if human:
        sections["Human preference"] = Mean.of(value for values in human.values() for value in values)
    subsets = {f"{name} (correctness)": Mean.of(values) for name, values in sorted(correctness.items())}
    subsets |= {f"{name} (human)": Mean.of(values) for name, values in sorted(human.items())}
    missing = tuple(name for name in SECTIONS if name not in sections)
    return Score(Mean.of([]) if missing else average(list(sections.values())), sections, subsets, missing)


BENCHMARK = Benchmark(
    name="ppe",
    title="PPE",
    paper="arXiv 2410.14872",
    schemas=("ppe-correctness", "ppe-human"),
    protocols=(BOTH, RM_R1),
    score=score,
    notes="the paper reports its two parts separately; overall is their mean, which this project adds",
)
