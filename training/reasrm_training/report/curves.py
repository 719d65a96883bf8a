"""The curves of a training stage: which numbers are drawn, how to read each of them, and the drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reasrm.report.drawing import AMBER, BLUE, GREEN, INK, RED, axes_of, svg
from reasrm_training.config.recipe import Recipe
from reasrm_training.measure.evaluate import Estimate, Evaluation

REACH = 0.04  # share of the steps, on either side, that the thick line averages over
MOST_SUBSETS = 30
COLOURS = (BLUE, AMBER, GREEN, RED)

WIDE_RANGE = ("loss", "entropy", "kl", "grad_norm")  # drawn on a logarithmic scale if they span orders of magnitude

SourceRows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Panel:
    """One number over the steps: its name in metrics.jsonl, its title, and how to read it. A `share` is drawn as percent."""

    name: str
    title: str
    why: str
    share: bool = False


#: In the order in which they are shown. A stage shows those that it logged.
PANELS = (
    Panel("reward", "Reward", "The mean over replies. The policy learns from the differences between the replies to one prompt."),
    Panel(
        "verdict_accuracy",
        "Verdict accuracy",
        "Replies that name the better response. One without a verdict counts as wrong.",
        True,
    ),
    Panel("order_consistency", "Order consistency", "Pairs of replies, one to each order, that name the same response.", True),
    Panel("loss", "Loss", "The optimizer lowers it. In distillation in nats per token; in RL its sign and size say little."),
    Panel("mean_token_accuracy", "Token accuracy", "Tokens of a chain that the model thought most likely.", True),
    Panel("completions/mean_length", "Reply length", "Tokens, the mean over replies."),
    Panel("rubric_tokens", "Rubric length", "Tokens of a reply's rubric or solution."),
    Panel("entropy", "Entropy", "Nats per token; near 0 there is nothing left to explore."),
    Panel("kl", "KL", "How far the policy has moved from the start of RL, in nats per token."),
    Panel("format", "Format", "Replies that consist of exactly the required parts.", True),
    Panel("p_a", "P(A)", "Verdicts that name the response shown first: 50 % is fair.", True),
    Panel("no_verdict", "No verdict", "Replies that name no response, or both.", True),
    Panel(
        "frac_reward_zero_std",
        "All-equal groups",
        "Prompts whose replies all got the same reward; the policy learns nothing from them.",
        True,
    ),
    Panel("sampling/sampling_logp_difference/mean", "Sampler and trainer", "The mean difference of their log-probabilities."),
    Panel("seconds/sampling", "Sampling time", "Seconds per step in which replies are sampled."),
    Panel("seconds/training", "Training time", "Seconds per step, without sampling, weight transfer and rewards."),
    Panel("grad_norm", "Gradient norm", "Before clipping."),
    Panel("learning_rate", "Learning rate", "As the schedule sets it."),
)


@dataclass(frozen=True, slots=True)
class Curve:
    """A drawn panel of a stage: its title, how to read it, and its markup."""

    title: str
    why: str
    svg: Any


def curves_of(stage: str, rows: SourceRows, recipe: Recipe) -> list[Curve]:
    """The panels of `stage` for which there are numbers."""
    bounds = _bounds(recipe) if stage == "rlvr" else {}
    curves: list[Curve] = []
    for panel in PANELS:
        points = [(row["step"], row[panel.name]) for row in rows if panel.name in row]
        lines, legend = bounds.get(panel.name, ((), ""))
        if points:
            curves.append(Curve(panel.title, f"{panel.why} {legend}".strip(), _curve(panel, points, lines)))
    return curves


def _bounds(recipe: Recipe) -> dict[str, tuple[tuple[float, ...], str]]:
    """The dotted lines of a panel, and their legend, by the panel's name."""
    if recipe.rlvr is None:
        return {}
    guard, stops = recipe.rlvr.guard, "Dotted: where RL stops itself."
    named = {
        "p_a": (guard.probability_a, stops),
        "format": ((guard.min_format,), stops),
        "completions/mean_length": ((float(recipe.rlvr.max_completion_tokens),), "Dotted: the token limit of a reply."),
    }
    return named | ({"entropy": ((guard.min_entropy,), stops)} if guard.min_entropy else {})


def _curve(panel: Panel, points: Sequence[tuple[int, float]], bounds: Sequence[float]) -> Any:
    scale = 100.0 if panel.share else 1.0
    steps, values = [step for step, _ in points], [scale * value for _, value in points]
    figure, axes = axes_of(3.6, 2.1, grid="y")
    reach = round(REACH * len(values))
    axes.plot(steps, values, color=BLUE, linewidth=0.9, alpha=0.35 if reach else 1.0, marker="o" if len(steps) == 1 else None)
    if reach:
        axes.plot(steps, smoothed(values, reach), color=BLUE, linewidth=1.9)
    for bound in bounds:
        axes.axhline(scale * bound, color=INK, linewidth=0.9, linestyle=":", alpha=0.7)
    if panel.share:
        low = min([*values, *(scale * bound for bound in bounds)])
        axes.set_ylim(max(-2.0, low - 5.0), 102.0)
        axes.set_ylabel("%")
    elif panel.name in WIDE_RANGE and min(values) > 0 and max(values) > 30 * min(values):
        axes.set_yscale("log")
    axes.set_xlabel("step")
    return svg(figure)


def smoothed(values: Sequence[float], reach: int) -> list[float]:
    """The mean of each value and its neighbours: up to `reach` of them on either side, fewer near the ends."""
    means: list[float] = []
    for place in range(len(values)):
        near = min(reach, place, len(values) - 1 - place)
        means.append(sum(values[place - near : place + near + 1]) / (2 * near + 1))
    return means


def by_subset(evaluations: Mapping[str, Evaluation]) -> Any | None:
    """Accuracy by subset, one dot per judge. Of many subsets, those where the last judge is worst. None where there are none."""
    last = list(evaluations.values())[-1] if evaluations else None
    if last is None or not last.subsets:
        return None
    ranked = sorted(last.subsets, key=lambda name: _percent(last.subsets[name].accuracy))[:MOST_SUBSETS][::-1]
    figure, axes = axes_of(5.4, 1.1 + 0.26 * len(ranked))
    for colour, (name, evaluation) in zip(COLOURS, evaluations.items(), strict=False):
        places = [place for place, subset in enumerate(ranked) if subset in evaluation.subsets]
        values = [_percent(evaluation.subsets[ranked[place]].accuracy) for place in places]
        axes.plot(values, places, "o", color=colour, markersize=6, alpha=0.85, label=name)
    axes.axvline(50, color=INK, linewidth=0.8, linestyle=":", alpha=0.6)
    axes.set_yticks(range(len(ranked)), [f"{name}  ({last.subsets[name].accuracy.n:,})" for name in ranked])
    axes.set_xlim(0, 102)
    axes.set_ylim(-0.7, len(ranked) - 0.3)
    axes.set_xlabel("right, % (dotted: chance)")
    axes.legend(loc="lower left", frameon=False, labelcolor=INK)
    return svg(figure)


def _percent(figure: Estimate) -> float:
    return 100.0 * (figure.value or 0.0)
