"""Strengths from comparisons: a Bradley-Terry fit with a weak prior and a position bias.

The model (Bradley and Terry, Biometrika 1952; with an advantage of the first place, Davidson and Beaver, Biometrics 1977):
logit P(the response shown first is better) = strength(first) - strength(second) + bias. Probabilities are fitted as soft labels,
votes as 0 and 1. numpy and scipy are imported at the first fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from reasrm.errors import ReasrmError
from reasrm.types import Judgment, NoVerdict, Order, Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Standard deviations of the prior, in logits. Weak: three logits apart is 95 % sure, and the prior pulls that by about a tenth.
STRENGTH_SD = 3.0
BIAS_SD = 1.0


@dataclass(frozen=True, slots=True)
class Duel:
    """One reading of two contestants: the probability in [0, 1] that the one shown first is better."""

    first: int
    second: int
    probability: float


@dataclass(frozen=True, slots=True)
class Strengths:
    """A fit: `theta` (n,) in logits, `covariance` (n, n) of it, and the judge's `bias` for the first place in logits."""

    theta: NDArray[np.float64]
    covariance: NDArray[np.float64]
    bias: float

    def against(self, zero: int | None) -> tuple[list[float], list[float]]:
        """Strengths and their standard errors, measured from contestant `zero`, or from the mean of all."""
        import numpy as np

        n = len(self.theta)
        shift = np.eye(n) - (np.eye(n)[zero] if zero is not None else np.full(n, 1.0 / n))
        variance = np.einsum("ij,jk,ik->i", shift, self.covariance, shift)
        return list(map(float, shift @ self.theta)), list(map(float, np.sqrt(np.maximum(variance, 0.0))))


def duels_of(first: int, second: int, judgment: Judgment) -> list[Duel]:
    """The readings behind a judgment of (`first` as A, `second` as B): one per opinion with a verdict.

    A judgment whose orders or votes cancel ("split") still has its readings: they mostly show a position bias, and the fit can
    separate that from strength only if it sees both readings. A judgment without a verdict for any other reason gives none.
    """
    outcome = judgment.outcome
    if isinstance(outcome, NoVerdict) and outcome.reason != "split":
        return []
    readings: list[tuple[Order, Verdict]] = [
        (opinion.order, opinion.outcome) for opinion in judgment.opinions if isinstance(opinion.outcome, Verdict)
    ]
    if not readings and isinstance(outcome, Verdict):
        readings = [("ab", outcome)]
    return [
        Duel(first, second, verdict.probability_a) if order == "ab" else Duel(second, first, 1.0 - verdict.probability_a)
        for order, verdict in readings
    ]


def fit(n: int, duels: Sequence[Duel]) -> Strengths:
    """The most probable strengths of `n` contestants, with the covariance of the normal approximation there (inverse Hessian).

    Contestants without duels get 0 and the prior's variance. Raises `ReasrmError` where scipy is not installed.
    """
    try:
        import numpy as np
        from scipy import optimize, special  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise ReasrmError("rewards from comparisons need scipy: pip install 'reasrm[serve]' or 'reasrm[data]'") from error

    design = np.zeros((len(duels), n + 1))
    rows = np.arange(len(duels))
    design[rows, [duel.first for duel in duels]] = 1.0
    design[rows, [duel.second for duel in duels]] = -1.0
    design[:, n] = 1.0
    won = np.array([duel.probability for duel in duels], dtype=np.float64)
    precision = np.array([STRENGTH_SD**-2.0] * n + [BIAS_SD**-2.0])

    def loss(x: Any) -> Any:
        logits = design @ x
        return np.sum(np.logaddexp(0.0, logits) - won * logits) + 0.5 * np.sum(precision * x * x)

    def gradient(x: Any) -> Any:
        return design.T @ (special.expit(design @ x) - won) + precision * x

    def hessian(x: Any) -> Any:
        expected = special.expit(design @ x)
        return (design.T * (expected * (1.0 - expected))) @ design + np.diag(precision)

    # A tight tolerance: equal evidence must give equal strengths.
    options = {"gtol": 1e-8}
    best = cast(Any, optimize).minimize(loss, np.zeros(n + 1), method="trust-exact", jac=gradient, hess=hessian, options=options).x
    covariance = cast("NDArray[np.float64]", np.linalg.inv(hessian(best)))
    return Strengths(theta=best[:n], covariance=covariance[:n, :n], bias=float(best[n]))
