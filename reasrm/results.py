"""The result of a judged row, which scoring writes and which metrics, benchmarks, reports and audits read.

Nothing here depends on the clock or on a cache, so that equal judgments are equal rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from reasrm.types import Frozen, Judgment, Order, Reason, Side, Source, Verdict, other


class JudgeIdentity(NamedTuple):
    """The judge of a row: the model, the version of its weights, and the digest of its prompts."""

    model: str
    weight_version: str = ""
    prompt_digest: str = ""


class Game(Frozen):
    """One reply of the judge: the order it saw, the winner in the row's own frame (or the reason why none), and its text."""

    order: Order
    winner: Side | None
    reason: Reason | None = None
    reply: str = ""


class Compared(Frozen):
    """Responses `i` ("A") and `j` ("B") of a row compared. `probability_a` is None where there is no verdict."""

    i: int
    j: int
    winner: Side | None
    probability_a: float | None
    source: Source | None = None
    reason: Reason | None = None
    detail: str = ""
    games: tuple[Game, ...] = ()

    @classmethod
    def of(cls, i: int, j: int, judgment: Judgment, *, flipped: bool = False, replies: bool = True) -> Compared:
        """The comparison of `i` and `j` in `judgment`. `flipped`: the judge saw (j, i). `replies`: keep their texts."""
        outcome = judgment.outcome
        if flipped and isinstance(outcome, Verdict):
            outcome = outcome.swapped()
        verdict = outcome if isinstance(outcome, Verdict) else None
        games: list[Game] = []
        for opinion in judgment.opinions:
            of_reply = opinion.outcome
            winner = of_reply.winner if isinstance(of_reply, Verdict) else None
            games.append(
                Game(
                    order=opinion.order if not flipped else ("ba" if opinion.order == "ab" else "ab"),
                    winner=other(winner) if winner and flipped else winner,
                    reason=None if isinstance(of_reply, Verdict) else of_reply.reason,
                    reply=opinion.reply if replies else "",
                )
            )
        return cls(
            i=i,
            j=j,
            winner=verdict.winner if verdict else None,
            probability_a=verdict.probability_a if verdict else None,
            source=verdict.source if verdict else None,
            reason=None if isinstance(outcome, Verdict) else outcome.reason,
            detail="" if isinstance(outcome, Verdict) else outcome.detail,
            games=tuple(games),
        )

    def by_order(self, order: Order) -> Side | None:
        """The side that most replies in `order` name; None if the sides are even or no reply has a verdict."""
        tally = sum((game.winner == "A") - (game.winner == "B") for game in self.games if game.order == order)
        return None if tally == 0 else ("A" if tally > 0 else "B")

    @property
    def order_consistent(self) -> bool | None:
        """Whether both orders name the same side; None unless each of them names one."""
        if len(self.games) < 2:
            return None
        ab, ba = self.by_order("ab"), self.by_order("ba")
        return None if ab is None or ba is None else ab == ba


class Scored(Frozen):
    """One row of a data set, judged, or the `error` for which it could not be.

    `index` counts from 0 over the whole input, `row` from 1 within `file`. `labels` are the data set's, `lengths` the
    responses' characters. `rewards` stand where the responses were ranked. `model`, `weight_version` and `prompt_digest` name the
    judge. Tokens are those of all replies.
    """

    index: int
    file: str
    row: int
    id: str
    subset: str = ""
    error: str = ""
    labels: tuple[float, ...] | None = None
    lengths: tuple[int, ...] = ()
    strength: float | None = None
    comparisons: tuple[Compared, ...] = ()
    rewards: tuple[float | None, ...] | None = None
    model: str = ""
    weight_version: str = ""
    prompt_digest: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def judge(self) -> JudgeIdentity | None:
        """The judge of the row; None if it was not judged, or if the file does not name the judge."""
        return JudgeIdentity(self.model, self.weight_version, self.prompt_digest) if self.model else None

    @property
    def only(self) -> Compared | None:
        """The comparison of a row that has just one."""
        return self.comparisons[0] if len(self.comparisons) == 1 else None

    def preferred(self, compared: Compared) -> Side | None:
        """The side of a comparison that the labels prefer; None for a tie and without labels."""
        if self.labels is None or self.labels[compared.i] == self.labels[compared.j]:
            return None
        return "A" if self.labels[compared.i] > self.labels[compared.j] else "B"

    def correct(self, compared: Compared) -> bool | None:
        """Whether the winner is the preferred side; None where there is no winner or nothing preferred."""
        preferred = self.preferred(compared)
        return None if preferred is None or compared.winner is None else compared.winner == preferred

    def flat(self) -> dict[str, Any]:
        """The row for a file: first the facts that readers of a pair look for, then all of its fields."""
        only = self.only
        shown = {
            "winner": only.winner if only else None,
            "probability_a": only.probability_a if only else None,
            "correct": self.correct(only) if only else None,
            "order_consistent": only.order_consistent if only else None,
            "reason": only.reason if only else None,
        }
        fields = vars(self).copy()
        where = {name: fields.pop(name) for name in ("index", "file", "row", "id", "subset", "error")}
        return where | shown | fields

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> Scored:
        """The row that `flat` wrote. Raises pydantic's ValidationError."""
        return cls.model_validate({name: row[name] for name in cls.model_fields if name in row})


def drawn_order(key: str) -> Order:
    """A reproducible coin flip for `key` (a comparison's position): the order of a pair that is read only once."""
    return "ab" if hashlib.blake2b(key.encode(), digest_size=1).digest()[0] & 1 else "ba"
