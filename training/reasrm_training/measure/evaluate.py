"""Measures a judge on pairs whose better side is known: greedy in both orders, sampled at T 1, and by voting.

A reply without a verdict is not right, as in RM-R1's own evaluation; how many there are stands beside every accuracy. Standard
errors are over pairs, since the two orders of one pair are not independent.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from reasrm.parsing import parse
from reasrm.prompts import Pack
from reasrm.types import Frozen, Order, Side
from reasrm_training.data.examples import PreferenceExample, write_whole
from reasrm_training.measure.sampling import Generate, JudgeReply
from reasrm_training.rl.rewards import well_formed

ORDERS: tuple[Order, ...] = ("ab", "ba")
#: How what the tables hold was measured, after the number of pairs.
MEASURED_BY = (
    "held-out pairs, each read in both orders, greedy; a reply without verdict counts as wrong. Percent, with standard errors over "
    "pairs. T 1: one sampled reply; voting@k: the majority of k."
)


@dataclass(frozen=True, slots=True)
class JudgedReply:
    """One reply, read. `winner` is the named response in the frame of the example, None without a verdict."""

    example: PreferenceExample
    order: Order
    reply: JudgeReply
    winner: Side | None
    reason: str
    formed: bool

    @property
    def right(self) -> bool:
        """Whether it names the better response."""
        return self.winner == self.example.winner


class Estimate(Frozen):
    """A mean over pairs, with its standard error; None where there is nothing to take a mean of."""

    value: float | None
    stderr: float | None = None
    n: int = 0


class GreedyScores(Frozen):
    """Shares of the judgments of a set of pairs, each judged in both orders at T 0.

    `accuracy_of_verdicts` leaves out replies without a verdict; `p_a` is the share of verdicts that name the first response
    shown; `order_consistency` is over pairs with a verdict in both orders; `tokens` is a reply's mean length.
    """

    accuracy: Estimate
    accuracy_of_verdicts: Estimate
    order_consistency: Estimate
    format: Estimate
    p_a: Estimate
    no_verdict: Estimate
    tokens: float


class Evaluation(Frozen):
    """A judge measured. `subsets` and `sources` hold the same shares for parts of the pairs; `voting` accuracies by votes."""

    model: str
    prompts: str
    pairs: int
    greedy: GreedyScores
    subsets: dict[str, GreedyScores] = Field(default={})
    sources: dict[str, GreedyScores] = Field(default={})
    reasons: dict[str, int] = Field(default={})
    sampled: Estimate | None = None
    voting: dict[int, Estimate] = Field(default={})


def evaluate(
    examples: Sequence[PreferenceExample],
    generate: Generate,
    pack: Pack,
    key: bytes,
    *,
    model: str = "",
    votes: Sequence[int] = (),
    sampled_pairs: int | None = None,
    replies: Path | None = None,
) -> Evaluation:
    """Judge `examples` and say how well that went.

    `votes` adds sampling at T 1 and majorities of so many replies, alternating the order, over the first `sampled_pairs`
    examples. The greedy replies are written to `replies` (JSON lines), where that is given.
    """
    greedy = judge(examples, generate, pack, key, temperature=0.0, seed=0)
    if replies:
        write_whole(replies, "".join(json.dumps(row_of(judged)) + "\n" for judged in greedy).encode())
    sampled, voting = None, {}
    if votes:
        sampled, voting = _sampled(list(examples)[:sampled_pairs], generate, pack, key, votes)
    return Evaluation(
        model=model,
        prompts=pack.digest,
        pairs=len(examples),
        greedy=summary(greedy),
        subsets=_by(greedy, lambda example: example.subset),
        sources=_by(greedy, lambda example: example.source),
        reasons=dict(Counter(judged.reason for judged in greedy if judged.reason)),
        sampled=sampled,
        voting=voting,
    )


def summary(judged: Sequence[JudgedReply]) -> GreedyScores:
    """The shares of replies that come in pairs, one to each order."""
    pairs = list(zip(judged[::2], judged[1::2], strict=True))
    verdicts = [[one.right for one in pair if one.winner] for pair in pairs]
    first = [[(one.winner == "A") == (one.order == "ab") for one in pair if one.winner] for pair in pairs]
    return GreedyScores(
        accuracy=figure([one.right for one in pair] for pair in pairs),
        accuracy_of_verdicts=figure(each for each in verdicts if each),
        order_consistency=figure([a.winner == b.winner] for a, b in pairs if a.winner and b.winner),
        format=figure([one.formed for one in pair] for pair in pairs),
        p_a=figure(each for each in first if each),
        no_verdict=figure([one.winner is None for one in pair] for pair in pairs),
        tokens=sum(one.reply.tokens for one in judged) / len(judged),
    )


def figure(pairs: Iterable[Sequence[float]]) -> Estimate:
    """The mean over everything in `pairs`, and its standard error with each of `pairs` as one cluster (ratio estimator)."""
    groups = [(sum(values), len(values)) for values in pairs]
    total, count = sum(s for s, _ in groups), sum(n for _, n in groups)
    if count == 0:
        return Estimate(value=None)
    mean, k = total / count, len(groups)
    spread = sum((s - mean * n) ** 2 for s, n in groups)
    stderr = math.sqrt(spread * k / (k - 1)) / count if k > 1 else None
    return Estimate(value=mean, stderr=stderr, n=k)


def judge(
    examples: Sequence[PreferenceExample], generate: Generate, pack: Pack, key: bytes, *, temperature: float, seed: int
) -> list[JudgedReply]:
    """One reply to each order of each example, the orders of one example side by side."""
    shown: list[tuple[PreferenceExample, Order]] = [(example, order) for example in examples for order in ORDERS]
    prompts = [pack.render(example.pair if order == "ab" else example.swapped().pair, key) for example, order in shown]
    replies = generate(prompts, temperature, seed)
    return [_read(example, order, reply, pack.kind) for (example, order), reply in zip(shown, replies, strict=True)]


def _read(example: PreferenceExample, order: Order, reply: JudgeReply, kind: Literal["rubric", "free"]) -> JudgedReply:
    reading = parse(reply.text, kind=kind, truncated=reply.truncated)
    seen = reading if order == "ab" else reading.swapped()
    reason = reading.no_verdict.reason if reading.no_verdict else ""
    return JudgedReply(example, order, reply, seen.answer, reason, well_formed(reply.text, kind))


def _sampled(
    examples: Sequence[PreferenceExample], generate: Generate, pack: Pack, key: bytes, votes: Sequence[int]
) -> tuple[Estimate, dict[int, Estimate]]:
    """Accuracy of single replies at T 1, and of the majority of k; an even split has no winner, and so is not right."""
    rounds = [judge(examples, generate, pack, key, temperature=1.0, seed=1 + draw) for draw in range(math.ceil(max(votes) / 2))]
    by_pair = [[one for draw in rounds for one in draw[i : i + 2]] for i in range(0, 2 * len(examples), 2)]
    sampled = figure([one.right for one in replies] for replies in by_pair)
    return sampled, {k: figure([_majority_right(replies[:k])] for replies in by_pair) for k in votes}


def _majority_right(replies: Sequence[JudgedReply]) -> bool:
    counts = Counter(one.winner for one in replies if one.winner)
    gold = replies[0].example.winner
    return counts[gold] > counts["B" if gold == "A" else "A"]


def _by(judged: Sequence[JudgedReply], name: Callable[[PreferenceExample], str]) -> dict[str, GreedyScores]:
    groups: dict[str, list[JudgedReply]] = {}
    for one in judged:
        groups.setdefault(name(one.example), []).append(one)
    return {group: summary(members) for group, members in sorted(groups.items())} if len(groups) > 1 else {}


def row_of(judged: JudgedReply) -> dict[str, Any]:
    """A reply as it is kept to be read."""
    return {
        "id": judged.example.id,
        "subset": judged.example.subset,
        "order": judged.order,
        "gold": judged.example.winner,
        "winner": judged.winner,
        "reason": judged.reason,
        "tokens": judged.reply.tokens,
        "reply": judged.reply.text,
    }


def cells(evaluations: Mapping[str, Evaluation]) -> list[list[str]]:
    """The evaluations as a table: its head, then one row each, in percent with standard errors."""
    ks = sorted({k for evaluation in evaluations.values() for k in evaluation.voting})
    head = ["judge", "pairs", "accuracy", "order consistency", "format", "no verdict", "P(A)", "T 1", *(f"voting@{k}" for k in ks)]
    rows = [head]
    for name, evaluation in evaluations.items():
        g = evaluation.greedy
        shares = [g.accuracy, g.order_consistency, g.format, g.no_verdict, g.p_a, evaluation.sampled]
        votes = [evaluation.voting.get(k) for k in ks]
        rows.append([name, f"{evaluation.pairs:,}", *map(percent, [*shares, *votes])])
    return rows


def table(evaluations: Mapping[str, Evaluation]) -> str:
    """The evaluations as Markdown."""
    head, *rows = ["| " + " | ".join(row) + " |" for row in cells(evaluations)]
    return "\n".join([head, "|" + " --- |" * (head.count("|") - 1), *rows])


def percent(share: Estimate | None) -> str:
    """A share for people; a dash where there is none."""
    if share is None or share.value is None:
        return "–"
    error = f" ± {100 * share.stderr:.1f}" if share.stderr is not None else ""
    return f"{100 * share.value:.1f}{error}"
