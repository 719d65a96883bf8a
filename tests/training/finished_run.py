"""The folder of a finished run, made without a run: every file that a report reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reasrm_training.config.recipes import load_recipe
from reasrm_training.measure.evaluate import Evaluation
from reasrm_training.report.curves import PANELS

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }}"


def share(value: float) -> dict[str, float]:
    return {"value": value, "stderr": 0.01, "n": 500}


def evaluation(accuracy: float, **more: Any) -> Evaluation:
    names = ("accuracy_of_verdicts", "order_consistency", "format", "p_a", "no_verdict")
    greedy = {"accuracy": share(accuracy), "tokens": 80.0} | {name: share(0.5) for name in names}
    subsets = {"addition/1": greedy, "ordering/2": greedy}
    made = {"model": "abc", "prompts": "world@1", "pairs": 500, "greedy": greedy, "subsets": subsets} | more
    return Evaluation.model_validate(made)


def judgment(step: int, pair: str, order: str, winner: str | None) -> dict[str, Any]:
    reason = "" if winner else "no_answer"
    about = {"step": step, "id": pair, "subset": "addition/1", "order": order, "gold": "A", "winner": winner, "reason": reason}
    return about | {"tokens": 7, "reply": f"<eval>{pair} {order} {step}</eval>{EVIL}"}


def write(folder: Path, files: dict[str, Any]) -> None:
    """Files by name: a list becomes JSON lines, a text stays as it is, anything else becomes JSON."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(row) + "\n" for row in content) if isinstance(content, list) else content
        (folder / name).write_text(lines if isinstance(lines, str) else json.dumps(lines))


def finished_run(folder: Path) -> Path:
    """Write a whole run into `folder`."""
    recipe = load_recipe("tiny", [f"output={json.dumps(str(folder))}", "rlvr.steps=77"])
    logged = {panel.name: 0.4 for panel in PANELS}
    rows = [{"step": n, **logged, "reward": n / 20} for n in range(1, 21)]
    pair = {"source": "world", "question": EVIL, "a": f"yes {EVIL}", "b": "no", "winner": "A", "subset": "addition/1"}
    environment = {"python": "3.11.9", "torch": "2.13.0"}
    rounds = {
        step: [judgment(step, i, order, w) for i in ("p0", "p1") for order in ("ab", "ba")] for step, w in ((0, None), (77, "A"))
    }
    write(
        folder,
        {
            "recipe.json": json.loads(recipe.model_dump_json(by_alias=True)),
            "state.json": {
                "data": {"key": "k", "result": "12 pairs", "seconds": 3.0, "environment": environment},
                "rlvr": {"key": "k", "stopped": "RL stopped itself at step 9", "environment": environment},
            },
            "data/heldout.jsonl": [{"id": f"p{i}", **pair} for i in range(3)],
            "data/manifest.json": {"sources": [], "parts": {"distill": {"rows": 1234}}},
            "distill/metrics.jsonl": "".join(json.dumps({"step": n, "loss": 9.0 / n**2}) + "\n" for n in range(1, 40))
            + '{"step": 4',
            "distill/judgments.jsonl": rounds[0],
            "rlvr/metrics.jsonl": rows,
            "rlvr/judgments.jsonl": [judgment(0, "p0", "ab", "B"), *rounds[77]],
            "rlvr/samples.jsonl": [{"step": 0, "prompt": EVIL, "reply": EVIL, "gold": "A", "reward": None}],
            "evaluate/distill.json": json.loads(evaluation(0.751).model_dump_json()),
            "evaluate/rlvr.json": json.loads(evaluation(0.932, sampled=share(0.9), voting={4: share(0.95)}).model_dump_json()),
            "evaluate/distill-replies.jsonl": [judgment(0, f"p{i}", order, "B") for i in range(3) for order in ("ab", "ba")],
            "evaluate/rlvr-replies.jsonl": [judgment(0, f"p{i}", order, "A") for i in range(3) for order in ("ab", "ba")],
        },
    )
    return folder
