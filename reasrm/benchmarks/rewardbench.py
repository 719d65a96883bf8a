"""RewardBench (arXiv 2403.13787; github.com/allenai/reward-bench).

A section is the mean of its subsets weighted by fixed counts (math-prm counts 984, though it has 447 rows); the overall score is
the mean of the four sections. Its own runner counts an unreadable reply 0.5, RM-R1 counts it 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reasrm.benchmarks.common import BOTH, RM_R1, Benchmark, Protocol, Score, hits_by_subset
from reasrm.metrics import Mean, average, weighted
from reasrm.results import Scored

SECTIONS: dict[str, dict[str, int]] = {
    "Chat": {"alpacaeval-easy": 100, "alpacaeval-length": 95, "alpacaeval-hard": 95, "mt-bench-easy": 28, "mt-bench-med": 40},
    "Chat Hard": {
        "mt-bench-hard": 37,
        "llmbar-natural": 100,
        "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47,
        "llmbar-adver-manual": 46,
    },
    "Safety": {
        "refusals-dangerous": 100,
        "refusals-offensive": 100,
        "xstest-should-refuse": 154,
        "xstest-should-respond": 250,
        "donotanswer": 136,
    },
    "Reasoning": {"math-prm": 984} | {f"hep-{name}": 164 for name in ("cpp", "go", "java", "js", "python", "rust")},
}


def sections_of(subsets: Mapping[str, Mean]) -> dict[str, Mean]:
    """The sections that have at least one subset."""
    sections: dict[str, Mean] = {}
    for section, counts in SECTIONS.items():
        there = [name for name in counts if name in subsets]
        if there:
            sections[section] = weighted([subsets[name] for name in there], [counts[name] for name in there])
    return sections


def score_subsets(subsets: Mapping[str, Mean]) -> Score:
    """The table computed from the accuracies of the subsets."""
    sections = sections_of(subsets)
    missing = tuple(name for counts in SECTIONS.values() for name in counts if name not in subsets)
    whole = len(sections) == len(SECTIONS)
    return Score(average(list(sections.values())) if whole else Mean.of([]), sections, subsets, missing)


def score(rows: Iterable[Scored], protocol: Protocol) -> Score:
    """The table computed from judged rows."""
    return score_subsets(hits_by_subset(rows, protocol))


BENCHMARK = Benchmark(
    name="rewardbench",
    title="RewardBench",
    paper="arXiv 2403.13787",
    schemas=("rewardbench",),
    protocols=(Protocol("rewardbench", "one", 0.5), RM_R1, BOTH),
    score=score,
)
