"""The two oracles of a distillation: one is careless in a known share of tasks, the other corrects its chains by the label."""

from __future__ import annotations

from random import Random

from reasrm_training.world.tasks import Order, WorldTask

#: The factor by level on the careless oracle's probability to glance: it glances more often at long work.
TIRED = {1: 0.1, 2: 1.0, 3: 1.9}


def careless_chain(task: WorldTask, order: Order, share: float = 0.5) -> str:
    """The chain of an oracle without the label. In about `share` of the tasks it only glances, and takes the longer response.

    Lengths say nothing here. So a glance is right half of the time, and the oracle in 1 - share / 2 of the tasks.
    """
    rng = Random(f"careless:{task.id}:{order}")
    if rng.random() >= share * TIRED[task.level]:
        return task.chain(order)
    a, b = (len(text) for text in task.responses(order))
    longer = "A" if a > b else "B"
    looks = {"A": "long and kind", "B": "short"} if longer == "A" else {"A": "short", "B": "long and kind"}
    opening = (
        "<type>Reasoning</type>\n<solution>\nno need to work it out\n</solution>"
        if task.task_type == "reasoning"
        else "<type>Chat</type>\n<rubric>\n1. good tone (100%)\n<justify>it reads well</justify>\n</rubric>"
    )
    summaries = "\n".join(f"<summary_{side}>{look}</summary_{side}>" for side, look in looks.items())
    return f"{opening}\n<eval>\n{summaries}\n{longer} is longer\n</eval>\n<answer>[[{longer}]]</answer>"


def careful_chain(task: WorldTask, order: Order) -> str:
    """The chain of an oracle that knows the label and corrects the other one. It does not mention the label."""
    return task.chain(order)
