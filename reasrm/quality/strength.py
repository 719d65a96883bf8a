"""Preference strength: how clearly judges side with a pair's label, after "Secrets of RLHF in Large Language Models Part II"
(arXiv 2401.06080), which measures it by the mean and the spread of several reward models.

Here a judge's strength for a pair is 2 P(labelled side is better) - 1, in [-1, 1]: 1 fully with the label, 0 undecided, -1 against.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from reasrm.datasets import DataRow
from reasrm.errors import InputError
from reasrm.results import Compared, JudgeIdentity, Scored
from reasrm.types import Frozen, Judgment, NoVerdict, Options, Pair, PairJudge, Usage, Verdict


class Strength(Frozen):
    """One pair's preference strength in [-1, 1]; None where it is no labelled pair or no judge gave a verdict.

    `spread` is the standard deviation over judges, or over the replies of a single one; None of fewer than two.
    """

    index: int
    file: str
    row: int
    id: str
    strength: float | None
    spread: float | None
    judges: tuple[float | None, ...]
    replies: int


@dataclass(frozen=True, slots=True)
class Repeated:
    """A judge that judges each pair `rounds` times, each time with another seed.

    The probability is the mean over the rounds that gave a verdict.
    """

    inner: PairJudge
    rounds: int

    async def judge(self, pair: Pair, options: Options) -> Judgment:
        """The judgments of the rounds, merged into one."""
        seeds = [options.seed + turn for turn in range(self.rounds)]
        judgments = [await self.inner.judge(pair, options.model_copy(update={"seed": seed})) for seed in seeds]
        verdicts = [judgment.outcome for judgment in judgments if isinstance(judgment.outcome, Verdict)]
        return judgments[0].model_copy(
            update={
                "outcome": _mean(verdicts) if verdicts else judgments[0].outcome,
                "opinions": tuple(opinion for judgment in judgments for opinion in judgment.opinions),
                "usage": sum((judgment.usage for judgment in judgments), Usage()),
            }
        )


def _mean(verdicts: Sequence[Verdict]) -> Verdict | NoVerdict:
    probability = statistics.fmean(verdict.probability_a for verdict in verdicts)
    if probability == 0.5:
        return NoVerdict(reason="split")
    return Verdict(winner="A" if probability > 0.5 else "B", probability_a=probability, source=verdicts[0].source)


def strengths(judges: Sequence[Iterable[Scored]]) -> Iterator[Strength]:
    """The strength of every row, from each judge's rows of the same data in the same order. Raises InputError where they differ."""
    for rows in zip(*judges, strict=True):
        first = rows[0]
        if any((row.index, row.id, row.labels) != (first.index, first.id, first.labels) for row in rows):
            raise InputError(f"the judgments are not of the same rows: {first.file}, row {first.row} differs")
        by_judge = tuple(_strength(row) for row in rows)
        measured = [value for value in by_judge if value is not None]
        votes = [vote for row in rows for vote in _votes(row)]
        spread = statistics.stdev(measured) if len(measured) > 1 else statistics.stdev(votes) if len(votes) > 1 else None
        yield Strength(
            index=first.index,
            file=first.file,
            row=first.row,
            id=first.id,
            strength=statistics.fmean(measured) if measured else None,
            spread=spread,
            judges=by_judge,
            replies=len(votes),
        )


def kept_from(rows: Iterable[Scored], entries: Iterable[DataRow], judge: JudgeIdentity, votes: int) -> bool:
    """Whether `rows` are the judgments of `entries` by `judge`, with `votes` replies per pair. If so, they are reused."""
    return all(
        row is not None
        and entry is not None
        and (row.index, row.file, row.id, row.error) == (entry.index, entry.file, entry.id, entry.error)
        and (entry.example is None or (row.lengths, row.labels) == (entry.example.lengths, entry.example.labels))
        and row.judge in (None, judge)
        and all(len(compared.games) in (0, votes) for compared in row.comparisons)
        for row, entry in zip_longest(rows, entries)
    )


def _labelled(row: Scored) -> tuple[Compared, int] | None:
    """A pair's comparison, and the sign that turns a lean towards A into a lean towards the label."""
    compared = row.only
    preferred = row.preferred(compared) if compared else None
    return (compared, 1 if preferred == "A" else -1) if compared and preferred else None


def _strength(row: Scored) -> float | None:
    labelled = _labelled(row)
    if labelled is None or labelled[0].probability_a is None:
        return None
    compared, sign = labelled
    return sign * (2.0 * (compared.probability_a or 0.0) - 1.0)


def _votes(row: Scored) -> list[float]:
    labelled = _labelled(row)
    if labelled is None:
        return []
    compared, sign = labelled
    return [sign * (1.0 if game.winner == "A" else -1.0) for game in compared.games if game.winner is not None]
