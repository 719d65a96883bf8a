"""Measures a judge on pairs whose better side is known: greedily in both orders, sampled at T 1, and by voting.

A reply without a verdict counts as wrong, as in RM-R1's own evaluation; its share stands beside every accuracy. Standard errors
are over pairs, since the two orders of one pair are not independent.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from reasrm.parsing import parse
from reasrm.prompts import Pack
from reasrm.types import Frozen, Order, Side
from reasrm_training.data.examples import PreferenceExample
from reasrm_training.data.files import write_whole
from reasrm_training.measure.generation import Generate, JudgeReply
from reasrm_training.rewards import well_formed

ORDERS: tuple[Order, ...] = ("ab", "ba")


@dataclass(frozen=True, slots=True)
class JudgedReply:
    """One reply, parsed. `winner` is the response that it names, in the order of the example; None without a verdict."""

    example: PreferenceExample
    order: Order
    reply: JudgeReply
    winner: Side | None
    reason: str
    formed: bool

    @property
    def right(self) -> bool:
        """Whether the reply names the better response."""
        return self.winner == self.example.winner


class Estimate(Frozen):
    """A mean over `n` pairs, with its standard error. `value` is None where there is nothing to take a mean of."""

    value: float | None
    stderr: float | None = None
    n: int = 0


class GreedyScores(Frozen):
    """Shares of the judgments of a set of pairs, each judged in both orders at T 0.

    `accuracy_of_verdicts` leaves out replies without a verdict. `p_a` is the share of verdicts that name the response shown
    first. `order_consistency` is over pairs with a verdict in both orders. `tokens` is the mean length of a reply.
    """

    accuracy: Estimate
    accuracy_of_verdicts: Estimate
    order_consistency: Estimate
    format: Estimate
    p_a: Estimate
    no_verdict: Estimate
    tokens: float


class Evaluation(Frozen):
    """A measurement of a judge. `subsets` and `sources` hold its shares for parts of the pairs; `voting` accuracies by votes."""

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
    """Judge `examples` and measure the judgments. `key` is the secret behind the prompts' fences.

    `votes` adds sampling at T 1 and majorities of that many replies, in alternating orders, over the first `sampled_pairs`
    examples. The greedy replies are written to the file `replies` (JSON lines), where that is given.
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
    """The shares of `judged`, in which the two orders of each pair stand side by side."""
    pairs = list(zip(judged[::2], judged[1::2], strict=True))
    verdicts = [[reply.right for reply in pair if reply.winner] for pair in pairs]
    first = [[(reply.winner == "A") == (reply.order == "ab") for reply in pair if reply.winner] for pair in pairs]
    return GreedyScores(
        accuracy=estimate([reply.right for reply in pair] for pair in pairs),
        accuracy_of_verdicts=estimate(shares for shares in verdicts if shares),
        order_consistency=estimate([a.winner == b.winner] for a, b in pairs if a.winner and b.winner),
        format=estimate([reply.formed for reply in pair] for pair in pairs),
        p_a=estimate(shares for shares in first if shares),
        no_verdict=estimate([reply.winner is None for reply in pair] for pair in pairs),
        tokens=sum(reply.reply.tokens for reply in judged) / len(judged),
    )


def estimate(pairs: Iterable[Sequence[float]]) -> Estimate:
    """The mean over all values in `pairs`, and its standard error with each of `pairs` as one cluster (ratio estimator)."""
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
    """One reply to each order of each example. The two orders of an example stand side by side."""
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
    """The accuracy of single replies at T 1, and of the majority of k. A tie has no winner, and so counts as wrong."""
    rounds = [judge(examples, generate, pack, key, temperature=1.0, seed=1 + draw) for draw in range(math.ceil(max(votes) / 2))]
    by_pair = [[reply for draw in rounds for reply in draw[i : i + 2]] for i in range(0, 2 * len(examples), 2)]
    sampled = estimate([reply.right for reply in replies] for replies in by_pair)
    return sampled, {k: estimate([_majority_right(replies[:k])] for replies in by_pair) for k in votes}


def _majority_right(replies: Sequence[JudgedReply]) -> bool:
    counts = Counter(reply.winner for reply in replies if reply.winner)
    gold = replies[0].example.winner
    return counts[gold] > counts["B" if gold == "A" else "A"]


def _by(judged: Sequence[JudgedReply], name: Callable[[PreferenceExample], str]) -> dict[str, GreedyScores]:
    groups: dict[str, list[JudgedReply]] = {}
    for reply in judged:
        groups.setdefault(name(reply.example), []).append(reply)
    return {group: summary(members) for group, members in sorted(groups.items())} if len(groups) > 1 else {}


def row_of(judged: JudgedReply) -> dict[str, Any]:
    """A reply as it is kept in files for people."""
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
