"""Numbers about judgments: means with standard errors, Wilson intervals, agreement, calibration. Pure Python, no randomness."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

Z95 = 1.959963984540054


class Mean(NamedTuple):
    """A mean of `n` values with its standard error (sample standard deviation / sqrt n). NaN where n is 0."""

    value: float
    stderr: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Mean:
        """The mean of `values`."""
        known = list(values)
        n = len(known)
        if n == 0:
            return cls(math.nan, math.nan, 0)
        value = sum(known) / n
        spread = math.fsum((x - value) ** 2 for x in known)
        return cls(value, math.sqrt(spread / (n - 1) / n) if n > 1 else math.nan, n)


def weighted(means: Sequence[Mean], weights: Sequence[float]) -> Mean:
    """The weighted mean of independent `means`: sum w m / sum w, its standard error propagated. NaN where there is none."""
    total = sum(weights)
    if not means or total == 0:
        return Mean(math.nan, math.nan, 0)
    value = sum(weight * mean.value for mean, weight in zip(means, weights, strict=True)) / total
    variance = math.fsum((weight * mean.stderr) ** 2 for mean, weight in zip(means, weights, strict=True))
    return Mean(value, math.sqrt(variance) / total, sum(mean.n for mean in means))


def average(means: Sequence[Mean]) -> Mean:
    """The unweighted mean of independent `means`."""
    return weighted(means, [1.0] * len(means))


def wilson(successes: float, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927), by default of 95 %; (0, 1) where n is 0."""
    if n == 0:
        return (0.0, 1.0)
    share = successes / n
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return (max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale))


@dataclass(slots=True)
class Share:
    """A share that counts hits one by one, with its interval."""

    hits: int = 0
    n: int = 0

    def add(self, hit: bool | None) -> None:
        """Count `hit`; None is not counted."""
        if hit is not None:
            self.hits += hit
            self.n += 1

    @property
    def value(self) -> float | None:
        """The share in [0, 1]; None where nothing was counted."""
        return self.hits / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval."""
        return wilson(self.hits, self.n)


def majority_agreement(votes: Sequence[str]) -> float | None:
    """The share of `votes` that agree with the majority, in [0.5, 1] for two sides; None for fewer than two votes."""
    return max(Counter(votes).values()) / len(votes) if len(votes) > 1 else None


class Bin(NamedTuple):
    """One bin of a reliability diagram: mean confidence, share of right verdicts, number of verdicts."""

    confidence: float
    accuracy: float
    n: int


@dataclass(slots=True)
class Calibration:
    """Confidence against truth, counted one by one in bins of equal width over [0.5, 1].

    Confidence is the probability of the named side; the error is the expected calibration error of Naeini et al. 2015
    (bins weighted by their size), the Brier score the mean squared difference of probability and truth.
    """

    bins: int = 10
    _sums: dict[int, list[float]] = field(default_factory=dict[int, list[float]])
    _brier: float = 0.0

    def add(self, confidence: float, right: bool) -> None:
        """Count a verdict of `confidence` in [0.5, 1]."""
        place = min(self.bins - 1, max(0, int((confidence - 0.5) * 2 * self.bins)))
        sums = self._sums.setdefault(place, [0.0, 0.0, 0.0])
        for at, value in enumerate((confidence, float(right), 1.0)):
            sums[at] += value
        self._brier += (confidence - right) ** 2

    @property
    def n(self) -> int:
        """The number of counted verdicts."""
        return int(sum(sums[2] for sums in self._sums.values()))

    @property
    def diagram(self) -> list[Bin]:
        """The bins that are not empty."""
        return [Bin(conf / n, right / n, int(n)) for _, (conf, right, n) in sorted(self._sums.items())]

    @property
    def error(self) -> float | None:
        """The expected calibration error in [0, 1]."""
        return sum(n * abs(confidence - accuracy) for confidence, accuracy, n in self.diagram) / self.n if self.n else None

    @property
    def brier(self) -> float | None:
        """The Brier score in [0, 1]."""
        return self._brier / self.n if self.n else None


@dataclass(slots=True)
class Correlation:
    """Pearson's correlation, counted one by one (Welford's updates)."""

    n: int = 0
    _mx: float = 0.0
    _my: float = 0.0
    _xx: float = 0.0
    _yy: float = 0.0
    _xy: float = 0.0

    def add(self, x: float, y: float) -> None:
        """Count a pair of values."""
        self.n += 1
        dx, dy = x - self._mx, y - self._my
        self._mx += dx / self.n
        self._my += dy / self.n
        self._xx += dx * (x - self._mx)
        self._yy += dy * (y - self._my)
        self._xy += dx * (y - self._my)

    @property
    def value(self) -> float | None:
        """The correlation in [-1, 1]; None where one side never varies."""
        scale = math.sqrt(self._xx * self._yy)
        return self._xy / scale if scale > 0 else None


def cyclic_share(wins: Iterable[tuple[str, str]]) -> float | None:
    """The share of judged triples that form a cycle (a > b > c > a). `wins`: (winner, loser) of every judged pair, once.

    For tournaments with all pairs judged this is Kendall and Babington Smith's count over the number of triples.
    """
    beats = set(wins)
    names = sorted({name for pair in beats for name in pair})
    judged = cyclic = 0
    for x, a in enumerate(names):
        for y in range(x + 1, len(names)):
            for c in names[y + 1 :]:
                edges = [(a, names[y]), (names[y], c), (c, a)]
                forward = [edge in beats for edge in edges]
                if all(forward[k] or edges[k][::-1] in beats for k in range(3)):
                    judged += 1
                    cyclic += len(set(forward)) == 1
    return cyclic / judged if judged else None
