"""Verifiable rewards: the value of one sampled reply of the judge, given the better side. Pure, and without torch.

Each reward is a small function of a `JudgeRollout`. A recipe composes them by name and weight (`rlvr.reward`). None means that
a reward does not apply to a rollout: it is left out of that rollout's sum, and is never taken for a zero.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from reasrm.parsing import parse
from reasrm.types import Order, Side
from reasrm_training.config.training import RewardName

FREE_LENGTH = 0.5  # share of the token limit up to which length costs nothing

# Each is matched in time that is linear in the reply, if no tag opens twice. `well_formed` checks that first.
_PARTS = {
    "rubric": re.compile(
        r"\s*<type>\s*(?:Chat\s*</type>\s*<rubric>.+</rubric>|Reasoning\s*</type>\s*<solution>.+</solution>)"
        r"\s*<eval>.+</eval>\s*<answer>\s*\[\[[AB]\]\]\s*</answer>\s*",
        re.DOTALL | re.IGNORECASE,
    ),
    "free": re.compile(r"\s*+(?>\S.*?</think>).*<answer>\s*\[\[[AB]\]\]\s*</answer>\s*", re.DOTALL | re.IGNORECASE),
}


@dataclass(frozen=True, slots=True)
class JudgeRollout:
    """One sampled reply. `gold` is the better side as the prompt shows the pair; `twin` a reply to the pair in the other order.

    `tokens` counts the reply with its end token, `limit` the most that it could have had; `truncated` says that the limit ended it.
    `strength` in (0, 1] says how clearly the label prefers its side; None where the data does not say.
    """

    reply: str
    gold: Side
    kind: Literal["rubric", "free"] = "rubric"
    tokens: int = 0
    limit: int = 0
    truncated: bool = False
    strength: float | None = None
    twin: JudgeRollout | None = None


def verdict(rollout: JudgeRollout) -> float:
    """+1 if the reply's verdict is the gold side, else -1 (the reward of RM-R1, arXiv 2505.02387).

    The parser that judges at inference reads the verdict, so training rewards nothing that a gateway would not count.
    """
    return 1.0 if _right(rollout) else -1.0


def format_(rollout: JudgeRollout) -> float:
    """+1 if the reply consists of exactly the parts that its kind requires, in their order, else -1."""
    return 1.0 if well_formed(rollout.reply, rollout.kind) else -1.0


def consistency(rollout: JudgeRollout) -> float | None:
    """+1 if this reply and its twin in the other order are both right, else -1 (J1, arXiv 2505.10320). None without a twin."""
    if rollout.twin is None:
        return None
    return 1.0 if _right(rollout) and _right(rollout.twin) else -1.0


def margin(rollout: JudgeRollout) -> float | None:
    """The verdict's reward times the label's strength, so that a clear preference weighs more than a slight one.

    It has no effect where rewards are divided by their group's deviation (`scale_rewards = "group"`): use "batch" or "none".
    The idea is the margin loss of arXiv 2307.09288, section 3.2.2. None where the strength is unknown.
    """
    return None if rollout.strength is None else verdict(rollout) * rollout.strength


def length(rollout: JudgeRollout) -> float:
    """0 up to half of the token limit, then linearly down to -1 at the limit (soft overlong punishment, arXiv 2503.14476)."""
    if rollout.limit <= 0:
        return 0.0
    share = min(1.0, rollout.tokens / rollout.limit)
    return -max(0.0, share - FREE_LENGTH) / (1.0 - FREE_LENGTH)


#: The rewards by their names in a recipe.
REWARDS: Mapping[RewardName, Callable[[JudgeRollout], float | None]] = {
    "verdict": verdict,
    "format": format_,
    "consistency": consistency,
    "margin": margin,
    "length": length,
}


def total(values: Mapping[RewardName, float | None], weights: Mapping[RewardName, float]) -> float | None:
    """The weighted sum of the rewards that apply; None if none does."""
    terms = [weights[name] * value for name, value in values.items() if value is not None]
    return sum(terms) if terms else None


def score(rollout: JudgeRollout, weights: Mapping[RewardName, float]) -> dict[RewardName, float | None]:
    """The value of each reward that `weights` names, before weighting."""
    return {name: REWARDS[name](rollout) for name in weights}


def well_formed(reply: str, kind: Literal["rubric", "free"]) -> bool:
    """Whether the whole reply has the form that prompts of this kind require: its parts in order, once each, and nothing else."""
    once, text = ("type", "rubric", "solution", "eval", "answer") if kind == "rubric" else ("answer",), reply.lower()
    return all(text.count(f"<{tag}>") <= 1 for tag in once) and bool(_PARTS[kind].fullmatch(reply))


def twins(keys: Sequence[tuple[str, Order]]) -> list[int | None]:
    """For each rollout the index of its twin: the k-th rollout of a pair in one order is the twin of the k-th in the other.

    `keys` are (pair id, order), in the order of the batch. A rollout whose counterpart is not in the batch has None.
    """
    seen: Counter[tuple[str, Order]] = Counter()
    places: dict[tuple[str, Order, int], int] = {}
    ranks: list[int] = []
    for index, (pair, order) in enumerate(keys):
        ranks.append(seen[pair, order])
        places[pair, order, ranks[-1]] = index
        seen[pair, order] += 1
    return [places.get((pair, "ba" if order == "ab" else "ab", rank)) for (pair, order), rank in zip(keys, ranks, strict=True)]


def _right(rollout: JudgeRollout) -> bool:
    return parse(rollout.reply, kind=rollout.kind, truncated=rollout.truncated).answer == rollout.gold
