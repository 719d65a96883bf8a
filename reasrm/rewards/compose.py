"""Compositions of rewards: small pure functions, each with its source. None (no verdict) stays None and enters no statistic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Rewards = Sequence[float | None]


def hierarchy(
    holistic: Rewards, aspects: Mapping[str, Rewards], weights: Mapping[str, float], *, threshold: float = 0.0
) -> list[float | None]:
    """The holistic reward h, and where it exceeds `threshold` also the aspects' bonus: h + sum of weight * sigmoid(aspect).

    This is ALaRM's form (arXiv 2403.06754). Aspects (length, factuality, ...) only distinguish good responses: a bonus is never
    negative, so a response above the threshold stays above all that are below it. Scale an aspect so that an ordinary difference is
    about 1. An aspect without a value counts as an average one (sigmoid 1/2). Raises `ValueError` where names or lengths do not
    fit, or a weight is negative (negate the aspect instead).
    """
    if set(aspects) != set(weights):
        raise ValueError(f"aspects {sorted(aspects)} and weights {sorted(weights)} must have the same names")
    if any(len(values) != len(holistic) for values in aspects.values()):
        raise ValueError("every aspect needs one value per response")
    if any(weight < 0.0 for weight in weights.values()):
        raise ValueError("a weight must not be negative: give the aspect the other sign instead")
    return [
        whole
        if whole is None or whole <= threshold
        else whole + sum(weights[name] * _sigmoid(values[i] or 0.0) for name, values in aspects.items())
        for i, whole in enumerate(holistic)
    ]


def _sigmoid(x: float) -> float:
    return 0.5 * (1.0 + math.tanh(0.5 * x))


def gap(probability_a: float | None, *, limit: float = 5.0) -> float | None:
    """How much better A is than B, in logits within +-`limit`, from P(A is better); gap(a, b) = -gap(b, a) and gap(a, a) = 0.

    The reward of a response against a reference of the same prompt (PIT, arXiv 2310.00898, which trains on such gaps).
    """
    if probability_a is None:
        return None
    if not 0.0 <= probability_a <= 1.0:
        raise ValueError(f"a probability lies within 0 and 1, not {probability_a}")
    if probability_a in (0.0, 1.0):
        return math.copysign(limit, probability_a - 0.5)
    return max(-limit, min(limit, math.log(probability_a) - math.log1p(-probability_a)))


def normalised(rewards: Rewards, *, clip: float | None = None, epsilon: float = 1e-6) -> list[float | None]:
    """A group's rewards with mean 0 and standard deviation 1, then clipped to +-`clip`. Rewards that are all equal become 0.

    The statistics are those of `rewards` alone. PPO-max (arXiv 2307.04964) normalises and clips as well, but by the running mean
    and deviation over the history of a training run; a trainer that wants this keeps that history itself.
    """
    known = [reward for reward in rewards if reward is not None]
    if not known:
        return list(rewards)
    mean = sum(known) / len(known)
    deviation = math.sqrt(sum((reward - mean) ** 2 for reward in known) / len(known))
    scaled = [None if reward is None else (reward - mean) / (deviation + epsilon) for reward in rewards]
    return scaled if clip is None else [None if reward is None else max(-clip, min(clip, reward)) for reward in scaled]
