"""Statistics of the judge over the rows of a run. The memory is bounded by the number of subsets, not of rows."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from dataclasses import dataclass, field

from reasrm.metrics import Calibration, Correlation, Mean, Share, majority_agreement
from reasrm.results import Compared, JudgeIdentity, Scored

SURELY_WRONG = 12  # rows that the report shows


@dataclass(slots=True)
class Running:
    """A running mean."""

    total: float = 0.0
    squares: float = 0.0
    n: int = 0

    def add(self, value: float) -> None:
        """Count `value`."""
        self.total += value
        self.squares += value * value
        self.n += 1

    @property
    def mean(self) -> Mean:
        """The mean with its standard error."""
        if self.n == 0:
            return Mean.of([])
        value = self.total / self.n
        variance = max(0.0, self.squares / self.n - value * value)
        return Mean(value, (variance / max(1, self.n - 1)) ** 0.5, self.n)


@dataclass(slots=True)
class Tally:
    """Counts over comparisons unless said otherwise.

    `accuracy` by subset, over comparisons with a verdict and a label; `shown_first`: replies that name the response shown first;
    `longer`: verdicts for the longer response, `longer_labelled`: labels for it; `judges`: rows by judge;
    `wrong`: the most confident wrong rows, the most confident first.
    """

    rows: int = 0
    errors: int = 0
    comparisons: int = 0
    accuracy: dict[str, Share] = field(default_factory=dict[str, Share])
    consistent: Share = field(default_factory=Share)
    shown_first: Share = field(default_factory=Share)
    longer: Share = field(default_factory=Share)
    longer_labelled: Share = field(default_factory=Share)
    length: Correlation = field(default_factory=Correlation)
    calibration: Calibration = field(default_factory=Calibration)
    reasons: Counter[str] = field(default_factory=Counter[str])
    sources: Counter[str] = field(default_factory=Counter[str])
    judges: Counter[JudgeIdentity] = field(default_factory=Counter[JudgeIdentity])
    agreement: Running = field(default_factory=Running)
    confidences: list[int] = field(default_factory=lambda: [0] * 20)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_error: str = ""
    _wrong: list[tuple[float, int, Scored, Compared]] = field(default_factory=list[tuple[float, int, Scored, Compared]])
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def add(self, row: Scored) -> None:
        """Count `row`."""
        self.rows += 1
        self.prompt_tokens += row.prompt_tokens
        self.completion_tokens += row.completion_tokens
        if row.judge is not None:
            self.judges[row.judge] += 1
        if row.error:
            self.errors += 1
            self.first_error = self.first_error or f"{row.file}, row {row.row}: {row.error}"
        for compared in row.comparisons:
            self._add(row, compared)

    def _add(self, row: Scored, compared: Compared) -> None:
        self.comparisons += 1
        if compared.reason is not None:
            self.reasons[compared.reason] += 1
        self.consistent.add(compared.order_consistent)
        named = [game.winner for game in compared.games if game.winner is not None]
        for game in compared.games:
            if game.winner is not None:
                self.shown_first.add((game.order == "ab") == (game.winner == "A"))
        agreement = majority_agreement(named)
        if agreement is not None:
            self.agreement.add(agreement)
        if compared.winner is None or compared.probability_a is None:
            return
        self.sources[compared.source or "votes"] += 1
        self.confidences[min(19, int(compared.probability_a * 20))] += 1
        self._add_lengths(row, compared)
        right = row.correct(compared)
        if right is not None:
            self._add_label(row, compared, compared.probability_a, right)

    def _add_label(self, row: Scored, compared: Compared, probability_a: float, right: bool) -> None:
        self.accuracy.setdefault(row.subset, Share()).add(right)
        confidence = probability_a if compared.winner == "A" else 1.0 - probability_a
        self.calibration.add(confidence, right)
        if not right:
            entry = (confidence, -next(self._order), row, compared)
            if len(self._wrong) < SURELY_WRONG:
                heapq.heappush(self._wrong, entry)
            else:
                heapq.heappushpop(self._wrong, entry)

    def _add_lengths(self, row: Scored, compared: Compared) -> None:
        a, b = row.lengths[compared.i], row.lengths[compared.j]
        if a != b and compared.probability_a is not None:
            self.longer.add((a > b) == (compared.winner == "A"))
            preferred = row.preferred(compared)
            self.longer_labelled.add(None if preferred is None else (a > b) == (preferred == "A"))
            self.length.add((a - b) / (a + b), compared.probability_a)

    @property
    def overall(self) -> Share:
        """Accuracy over all subsets."""
        return Share(sum(share.hits for share in self.accuracy.values()), sum(share.n for share in self.accuracy.values()))

    @property
    def no_verdicts(self) -> int:
        """Comparisons without a verdict."""
        return sum(self.reasons.values())

    @property
    def wrong(self) -> list[tuple[Scored, Compared]]:
        """The most confident wrong comparisons, the most confident first."""
        return [(row, compared) for _, _, row, compared in sorted(self._wrong, key=lambda entry: entry[:2], reverse=True)]
