"""The card of a trained judge: a README.md that says what it is, how it was made and how well it judges, with its curves."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reasrm.prompts import load_pack
from reasrm_training.config.recipe import Recipe
from reasrm_training.data.files import write_whole
from reasrm_training.measure.evaluate import Evaluation
from reasrm_training.measure.table import MEASURED_BY, table
from reasrm_training.report.run_folder import RunFolder, recipe_text

CURVES = "curves.png"

#: The numbers that are drawn for each stage, where they were logged: name in metrics.jsonl -> title.
DRAWN: Mapping[str, str] = {
    "loss": "loss",
    "reward": "reward",
    "verdict_accuracy": "verdict accuracy",
    "order_consistency": "order consistency",
    "format": "format",
    "p_a": "P(A)",
    "completions/mean_length": "reply length (tokens)",
    "entropy": "entropy (nats per token)",
    "kl": "KL to the start",
}
STAGE_NAMES = {"distill": "distillation (SFT)", "rlvr": "RL (GRPO)"}


def write_card(recipe: Recipe, folder: Path) -> Path:
    """Write README.md and its picture into `folder` from the files of `recipe`'s run, and return the card's path."""
    run = RunFolder.of(recipe)
    curves = run.curves
    if curves:
        draw_curves(curves, folder / CURVES)
    weights = hashlib.sha256(file.read_bytes()).hexdigest() if (file := folder / "model.safetensors").is_file() else ""
    text = card(recipe, run.evaluations, curves=bool(curves), data=list(run.data_lines), weights_sha256=weights)
    write_whole(folder / "README.md", text.encode())
    return folder / "README.md"


def card(
    recipe: Recipe, evaluations: Mapping[str, Evaluation], *, curves: bool, data: Sequence[str] = (), weights_sha256: str = ""
) -> str:
    """The card's Markdown. Its front matter, which model hubs read, holds the measurement of the last stage."""
    pack = load_pack(recipe.prompts)
    start = recipe.model.path or "random weights"
    parts = [
        _front(recipe, list(evaluations.values())[-1:], weights_sha256),
        f"# {recipe.name}\n\nA reasoning reward model: it reads a question and two responses, reasons in writing and then names "
        f"the better one. It was trained from {start} by reasrm, after RM-R1 (arXiv 2505.02387).",
    ]
    if recipe.world:
        parts.append(
            "**It is a judge of generated tasks and of nothing else.** It was trained and measured on tasks made by a program "
            "that knows the right answer. Input outside of that world gets no verdict."
        )
    parts.append("## How well it judges\n\n" + _measured(evaluations))
    if curves:
        parts.append(f"## How it was trained\n\n![Curves of the training stages]({CURVES})")
    if data:
        parts.append("## Data\n\n" + "\n".join(f"- {line}" for line in data))
    parts.append(
        f"## Use\n\nPrompt pack `{pack.digest}`, in `prompts/`.\n\n```\n"
        "reasrm train gguf .     # for llama.cpp; without this file SGLang serves the folder\nreasrm serve --launch .\n"
        'reasrm judge "the question" "response A" "response B"\n```'
    )
    parts.append(
        f"## Recipe\n\nDigest `{recipe.digest}`, seed {recipe.seed}; every value that differs from its default:\n\n"
        f"```json\n{recipe_text(recipe)}\n```"
    )
    return "\n\n".join(parts) + "\n"


def _front(recipe: Recipe, measured: Sequence[Evaluation], weights_sha256: str) -> str:
    lines = [f"license: {recipe.export.license}", "library_name: transformers", "pipeline_tag: text-generation"]
    lines += [f"base_model: {recipe.model.path}"] * bool(recipe.model.path)
    lines += ["tags:", "- reward-model", "- llm-as-a-judge", "- reasrm"]
    lines += [f"weights_sha256: {weights_sha256}"] * bool(weights_sha256)
    for evaluation in measured:
        greedy = evaluation.greedy
        shares = {"accuracy": greedy.accuracy, "order_consistency": greedy.order_consistency, "format": greedy.format}
        lines += [f"{name}: {share.value:.4f}" for name, share in shares.items() if share.value is not None]
        lines += [f"pairs: {evaluation.pairs}", f"weak: [{', '.join(weak_subsets(evaluation))}]"]
    return "\n".join(["---", *lines, "---"])


def weak_subsets(evaluation: Evaluation) -> list[str]:
    """The subsets on which a judge may be no better than chance: within two standard errors of one half."""
    shares = {name: part.accuracy for name, part in evaluation.subsets.items()}
    return [name for name, share in shares.items() if (share.value or 0.0) - 2 * (share.stderr or 0.0) <= 0.5]


def _measured(evaluations: Mapping[str, Evaluation]) -> str:
    if not evaluations:
        return "It was not measured: the recipe has no `[evaluate]`."
    return f"{next(iter(evaluations.values())).pairs:,} {MEASURED_BY}\n\n{table(evaluations)}"


def draw_curves(curves: Mapping[str, Sequence[Mapping[str, Any]]], file: Path) -> None:
    """Draw the curves of each stage, one panel per number, as a PNG at `file`."""
    from matplotlib.figure import Figure

    panels = [(stage, name) for stage, rows in curves.items() for name in DRAWN if any(name in row for row in rows)]
    columns = 3
    lines = max(1, -(-len(panels) // columns))
    figure = Figure(figsize=(11, 2.4 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)
    for place, (stage, name) in zip(axes.flat, panels, strict=False):
        points = [(row["step"], row[name]) for row in curves[stage] if name in row]
        place.plot(*zip(*points, strict=True), linewidth=1.4, color="tab:blue" if stage == "distill" else "tab:orange")
        place.set_title(f"{STAGE_NAMES.get(stage, stage)}: {DRAWN[name]}", fontsize=9)
        place.set_xlabel("step", fontsize=8)
        place.tick_params(labelsize=8)
        place.grid(alpha=0.3)
    for place in list(axes.flat)[len(panels) :]:
        place.set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110, metadata={"Software": None})
