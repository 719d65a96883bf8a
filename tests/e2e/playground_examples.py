"""The examples of the playground: held-out tasks of the embedded judge's world, and one from outside it.

`python -m tests.e2e.playground_examples` writes them again when the world has changed.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

from reasrm_training.world import tasks, text

from tests.components import ROOT

FILE = ROOT / "serving" / "reasrm_serving" / "static" / "examples.json"
SEED = 5
#: The name of a family on the page.
NAMES = {
    "addition": "Sum",
    "subtraction": "Difference",
    "multiplication": "Product",
    "ordering": "Sorting",
    "counting": "Counting",
    "edits": "String edit",
    "traces": "Code",
    "notes": "Note",
    "cards": "Card",
}
FIRST = ("cards", "addition", "traces", "notes", "ordering", "counting", "multiplication", "edits", "subtraction")
OUTSIDE: dict[str, Any] = {
    "question": "Explain to a nurse what a p-value is, in two sentences.",
    "a": "It says how often chance alone would give a difference at least as large as the one seen, if the treatment did nothing. "
    "It does not say how probable it is that the treatment works.",
    "b": "It is the probability that the result is wrong. Below 5 % the treatment is proven to work.",
}


def examples() -> list[dict[str, Any]]:
    """[{name, request}] in the order of the page; pairs of the world also have the side that is `better`, and `why`."""
    shown = [{"name": NAMES[family]} | _pair(_task(family), swap=place % 2 == 0) for place, family in enumerate(FIRST)]
    return [*shown, {"name": "Rank five", "request": _group()}, {"name": "Outside its world", "request": OUTSIDE}]


def shipped() -> list[dict[str, Any]]:
    """The examples as the page has them."""
    return json.loads(FILE.read_text())


def _task(family: str) -> tasks.WorldTask:
    return tasks.generate(SEED, 1, "heldout", families=(family,), levels=(2,))[0]


def _pair(task: tasks.WorldTask, *, swap: bool) -> dict[str, Any]:
    order: tasks.Order = "ba" if swap else "ab"
    a, b = task.responses(order)
    return {"request": {"question": task.question, "a": a, "b": b}, "better": task.winner(order), "why": "as a program computed"}


def _group() -> dict[str, Any]:
    """A sum with its right answer, and wrong answers with more and more wrong digits."""
    task, rng = _task("addition"), Random(SEED)
    right = "".join(check.due for check in task.checks)
    wrong = [right[:-1] + str((int(right[-1]) + 3) % 10)]
    wrong.append(wrong[0][:1] + str((int(right[1]) + 4) % 10) + wrong[0][2:])
    answers = [wrong[1], right, task.quotes[1], wrong[0], right]
    responses = [text.styled(rng, rng.choice(text.CORES).format(answer)) for answer in answers]
    return {"question": task.question, "responses": responses, "orders": "both", "method": "all_pairs"}


if __name__ == "__main__":
    FILE.write_text(json.dumps(examples(), indent=1) + "\n")
