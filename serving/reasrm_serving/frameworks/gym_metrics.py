"""The statistics that NeMo Gym asks a resources server for after a run of rollouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, median, stdev
from typing import Any

TASK, ROLLOUT = "_ng_task_index", "_ng_rollout_index"


def aggregate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean, largest, smallest, median and deviation of every number in `rows`, per task and over all; means are the headline."""
    tasks: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        tasks.setdefault(row.get(TASK, 0), []).append(row)
    everything = _statistics(rows)
    return {
        "group_level_metrics": [{TASK: task, **_statistics(members)} for task, members in tasks.items()],
        "agent_metrics": everything,
        "key_metrics": {name: value for name, value in everything.items() if name.startswith("mean/")},
    }


def _statistics(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, bool | int | float) and name not in (TASK, ROLLOUT):
                columns.setdefault(name, []).append(float(value))
    statistics: dict[str, float] = {}
    for name, values in columns.items():
        statistics |= {
            f"mean/{name}": fmean(values),
            f"max/{name}": max(values),
            f"min/{name}": min(values),
            f"median/{name}": median(values),
            f"std/{name}": stdev(values) if len(values) > 1 else 0.0,
        }
    return statistics
