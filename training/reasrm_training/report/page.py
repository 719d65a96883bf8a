"""The page of a run: the table of measurements, the curves, judgments of the same pairs side by side, and how it was made."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from reasrm.report.drawing import as_text, render
from reasrm_training.data.files import write_whole
from reasrm_training.measure.evaluate import Estimate, Evaluation, estimate
from reasrm_training.measure.table import MEASURED_BY, cells
from reasrm_training.report.curves import by_subset, curves_of
from reasrm_training.report.run_folder import RunFolder, recipe_text

REPORT = "report.html"
NAMES = {"model": "untrained", "distill": "distillation (SFT)", "rlvr": "RL (GRPO)"}
SHORT = {"model": "untrained", "distill": "SFT", "rlvr": "RL"}
MAX_PAIRS = 4


def write_report(run: RunFolder, *, against: Mapping[str, Evaluation] | None = None, to: Path | None = None) -> Path:
    """Write the page of `run` into its folder, or to `to`. `against` holds other runs' measurements, by name.

    Raises InputError where a package for drawing is missing.
    """
    path = to or run.folder / REPORT
    own = run.evaluations
    judged = {NAMES[name]: evaluation for name, evaluation in own.items()}
    page = render(
        "reasrm_training.report",
        "run.html",
        title=f"{run.recipe.name}, trained",
        headline=_headline(list(own.values())[-1]) if own else [],
        table=_table({**(against or {}), **judged}, judged),
        measured=_measured(own),
        gains=_gains(run, list(own)),
        subsets=by_subset(judged),
        stages=_stages(run),
        curves=[(NAMES[stage], curves_of(stage, rows, run.recipe)) for stage, rows in run.curves.items()],
        pairs=_pairs(run),
        rollouts=_rollouts(run),
        data=list(run.data_lines),
        recipe=recipe_text(run.recipe),
        digest=run.recipe.digest,
        environments=_environments(run),
    )
    write_whole(path, page.encode())
    return path


def _headline(last: Evaluation) -> list[tuple[str, str, str]]:
    greedy = last.greedy
    named = (
        ("right", greedy.accuracy, "no verdict counts as wrong"),
        ("both orders agree", greedy.order_consistency, "where both name a response"),
        ("in the required form", greedy.format, f"{greedy.tokens:,.0f} tokens per reply"),
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
    """The table: its head, rows of (name, cells, whether it is this run's), and whether there are `others`."""
    head, *rows = cells(evaluations)
    marked = [(name, rest, name in own) for name, *rest in rows]
    return {"head": head, "rows": marked, "others": not all(mine for *_, mine in marked)} if rows else None


def _gains(run: RunFolder, names: Sequence[str]) -> list[str]:
    """The gain of each training stage over the one before it, over the same pairs."""
    lines: list[str] = []
    for before, after in pairwise(names):
        one, two = (_right_by_pair(run, name) for name in (before, after))
        gain = paired(one, two)
        if gain.value is not None:
            error = f" ± {100 * gain.stderr:.1f}" if gain.stderr is not None else ""
            points = f"{100 * gain.value:+.1f}{error} points"
            lines.append(f"{NAMES[after]} over {NAMES[before]}: {points}, over the same {gain.n:,} pairs")
    return lines


def _right_by_pair(run: RunFolder, name: str) -> dict[str, list[bool]]:
    right: dict[str, list[bool]] = {}
    for row in run.replies(name):
        right.setdefault(row["id"], []).append(row["winner"] == row["gold"])
    return right


def paired(one: Mapping[str, Sequence[bool]], two: Mapping[str, Sequence[bool]]) -> Estimate:
    """The mean of `two` less that of `one`, over the pairs in both, with its standard error over pairs."""
    shared = [name for name in one if name in two and len(one[name]) == len(two[name])]
    return estimate([float(b) - float(a) for a, b in zip(one[name], two[name], strict=True)] for name in shared)


def _stages(run: RunFolder) -> list[tuple[str, str, str]]:
    """For each stage its name, its result or why there is none, and how long it took."""
    state = run.state
    lines: list[tuple[str, str, str]] = []
    for stage in run.recipe.stages:
        entry = state.get(stage, {})
        result = entry.get("result", "").replace(f"{run.folder}/", "")
        why = f"stopped: {entry['stopped']}" if "stopped" in entry else "begun, not ended" if entry else "not begun"
        seconds = f"{entry['seconds']:,.0f} s" if "seconds" in entry else ""
        lines.append((stage, result or why, seconds))
    return lines


def _pairs(run: RunFolder) -> list[dict[str, Any]]:
    """The same held-out pairs with the judgments of every round, in the order of the rounds."""
    rounds = run.judged
    ids = _ids_to_show([[row for row in rows if row["order"] == "ab"] for rows in rounds.values()])
    examples = run.heldout(ids)
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


def _ids_to_show(rounds: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
    """Up to `MAX_PAIRS` ids that are in every round. Those that some rounds got right and others wrong come first."""
    right: dict[str, list[bool]] = {}
    for rows in rounds:
        for row in rows:
            right.setdefault(row["id"], []).append(row["winner"] == row["gold"])
    complete = [name for name, judgments in right.items() if len(judgments) == len(rounds)]
    return sorted(complete, key=lambda name: len(set(right[name])) < 2)[:MAX_PAIRS]


def _when(stage: str, step: int | None) -> str:
    return f"{SHORT[stage]}, at the end" if step is None else "before training" if step == 0 else f"{SHORT[stage]}, step {step:,}"


def _column(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The replies of one round to a pair. The one to the order as given comes first."""
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


def _rollouts(run: RunFolder) -> list[tuple[int, list[dict[str, Any]]]]:
    """The sampled replies by step."""
    steps: dict[int, list[dict[str, Any]]] = {}
    for row in run.rollouts:
        steps.setdefault(row["step"], []).append(row)
    return list(steps.items())


def _environments(run: RunFolder) -> list[tuple[str, dict[str, str]]]:
    """Names of stages and what they ran on. Stages that ran on the same are listed together."""
    by_facts: dict[str, tuple[list[str], dict[str, str]]] = {}
    for stage, entry in run.state.items():
        if facts := entry.get("environment"):
            by_facts.setdefault(str(facts), ([], facts))[0].append(stage)
    return [(", ".join(stages), facts) for stages, facts in by_facts.values()]
