"""The page of a run: the measured table, the curves, judgments of the same pairs side by side, and how it was made."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from reasrm.report.drawing import as_text, render
from reasrm_training.data.examples import write_whole
from reasrm_training.measure.evaluate import MEASURED_BY, Evaluation, Estimate, cells, figure
from reasrm_training.report.curves import by_subset, drawn
from reasrm_training.report.history import RunFolder, recipe_text

REPORT = "report.html"
NAMES = {"model": "as it came", "distill": "distillation (SFT)", "rlvr": "RL (GRPO)"}
SHORT = {"model": "as it came", "distill": "SFT", "rlvr": "RL"}
MOST_PAIRS = 4


def write_report(left: RunFolder, *, against: Mapping[str, Evaluation] | None = None, to: Path | None = None) -> Path:
    """Write the page of what a run has left, to its folder unless `to` says where; `against`: other runs' measurements.

    Raises InputError where a package that draws is missing.
    """
    path = to or left.folder / REPORT
    own = left.evaluations
    judged = {NAMES[name]: evaluation for name, evaluation in own.items()}
    page = render(
        "reasrm_training.report",
        "run.html",
        title=f"{left.recipe.name}, trained",
        headline=_headline(list(own.values())[-1]) if own else [],
        table=_table({**(against or {}), **judged}, judged),
        measured=_measured(own),
        gains=_gains(left, list(own)),
        subsets=by_subset(judged),
        stages=_stages(left),
        curves=[(NAMES[stage], drawn(stage, rows, left.recipe)) for stage, rows in left.curves.items()],
        pairs=_pairs(left),
        rollouts=_rollouts(left),
        data=list(left.data_lines),
        recipe=recipe_text(left.recipe),
        digest=left.recipe.digest,
        environments=_environments(left),
    )
    write_whole(path, page.encode())
    return path


def _headline(last: Evaluation) -> list[tuple[str, str, str]]:
    greedy = last.greedy
    named = (
        ("right", greedy.accuracy, "no verdict is not right"),
        ("both orders agree", greedy.order_consistency, "where each names a response"),
        ("in the form asked for", greedy.format, f"{greedy.tokens:,.0f} tokens a reply"),
    )
    known = [(name, share.value, share.stderr, why) for name, share, why in named if share.value is not None]
    return [
        (f"{100 * value:.1f} %", name, (f"± {100 * stderr:.1f}; " if stderr else "") + why) for name, value, stderr, why in known
    ]


def _measured(own: Mapping[str, Evaluation]) -> str:
    if not own:
        return ""
    return f"{next(iter(own.values())).pairs:,} {MEASURED_BY}"


def _table(evaluations: Mapping[str, Evaluation], own: Container[str]) -> dict[str, Any] | None:
    """The table: head, and rows of (name, cells, whether it is this run's); `others`: whether some are not."""
    head, *rows = cells(evaluations)
    marked = [(name, rest, name in own) for name, *rest in rows]
    return {"head": head, "rows": marked, "others": not all(mine for *_, mine in marked)} if rows else None


def _gains(left: RunFolder, names: Sequence[str]) -> list[str]:
    """How much each training stage added to the one before it, over the same pairs."""
    said: list[str] = []
    for before, after in pairwise(names):
        one, two = (_right_by_pair(left, name) for name in (before, after))
        gain = paired(one, two)
        if gain.value is not None:
            error = f" ± {100 * gain.stderr:.1f}" if gain.stderr is not None else ""
            points = f"{100 * gain.value:+.1f}{error} points"
            said.append(f"{NAMES[after]} over {NAMES[before]}: {points}, over the same {gain.n:,} pairs")
    return said


def _right_by_pair(left: RunFolder, name: str) -> dict[str, list[bool]]:
    found: dict[str, list[bool]] = {}
    for row in left.replies(name):
        found.setdefault(row["id"], []).append(row["winner"] == row["gold"])
    return found


def paired(one: Mapping[str, Sequence[bool]], two: Mapping[str, Sequence[bool]]) -> Estimate:
    """The mean of `two` less that of `one` over the pairs that both hold, with its standard error over pairs."""
    shared = [name for name in one if name in two and len(one[name]) == len(two[name])]
    return figure([float(b) - float(a) for a, b in zip(one[name], two[name], strict=True)] for name in shared)


def _stages(left: RunFolder) -> list[tuple[str, str, str]]:
    """(stage, its result or why there is none, how long it took)."""
    state = left.state
    told: list[tuple[str, str, str]] = []
    for stage in left.recipe.stages:
        entry = state.get(stage, {})
        result = entry.get("result", "").replace(f"{left.folder}/", "")
        why = f"stopped: {entry['stopped']}" if "stopped" in entry else "begun, not ended" if entry else "not begun"
        seconds = f"{entry['seconds']:,.0f} s" if "seconds" in entry else ""
        told.append((stage, result or why, seconds))
    return told


def _pairs(left: RunFolder) -> list[dict[str, Any]]:
    """The same held-out pairs as each round of judging saw them, in the order of the rounds."""
    rounds = left.judged
    ids = _chosen([[row for row in rows if row["order"] == "ab"] for rows in rounds.values()])
    examples = left.heldout(ids)
    return [
        {
            "id": name,
            "subset": examples[name].subset,
            "question": as_text(examples[name].question),
            "a": as_text(examples[name].a),
            "b": as_text(examples[name].b),
            "gold": examples[name].winner,
            "columns": [
                {"when": _when(stage, step), **_column([row for row in rows if row["id"] == name])}
                for (stage, step), rows in rounds.items()
            ],
        }
        for name in ids
        if name in examples
    ]


def _chosen(rounds: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
    """Up to `MOST_PAIRS` ids that are in every round, those first that some rounds got right and others wrong."""
    right: dict[str, list[bool]] = {}
    for rows in rounds:
        for row in rows:
            right.setdefault(row["id"], []).append(row["winner"] == row["gold"])
    whole = [name for name, each in right.items() if len(each) == len(rounds)]
    return sorted(whole, key=lambda name: len(set(right[name])) < 2)[:MOST_PAIRS]


def _when(stage: str, step: int | None) -> str:
    return f"{SHORT[stage]}, at the end" if step is None else "before training" if step == 0 else f"{SHORT[stage]}, step {step:,}"


def _column(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A pair's replies of one round, the order as given first."""
    ordered = sorted(rows, key=lambda row: row["order"])
    return {
        "right": [row["winner"] == row["gold"] for row in ordered],
        "replies": [
            {
                "text": row["reply"],
                "verdict": f"names {row['winner']}" if row["winner"] else f"no verdict ({row['reason']})",
                "right": row["winner"] == row["gold"],
                "swapped": row["order"] == "ba",
                "tokens": row["tokens"],
            }
            for row in ordered
        ],
    }


def _rollouts(left: RunFolder) -> list[tuple[int, list[dict[str, Any]]]]:
    """Sampled replies by step."""
    steps: dict[int, list[dict[str, Any]]] = {}
    for row in left.rollouts:
        steps.setdefault(row["step"], []).append(row)
    return list(steps.items())


def _environments(left: RunFolder) -> list[tuple[str, dict[str, str]]]:
    """(stages, what they ran on), stages that ran on the same together."""
    found: dict[str, tuple[list[str], dict[str, str]]] = {}
    for stage, entry in left.state.items():
        if known := entry.get("environment"):
            found.setdefault(str(known), ([], known))[0].append(stage)
    return [(", ".join(stages), known) for stages, known in found.values()]
