"""The stages of a run, one function each. It reads the results of earlier stages, and leaves its own in a folder of its own.

Each stage can be started again at any point, and keeps what it had finished. The function returns one line about its result.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reasrm.prompts import BUILTIN, load_pack
from reasrm_training.config.recipe import Recipe
from reasrm_training.config.values import Stage
from reasrm_training.data.examples import PreferenceExample, read_examples
from reasrm_training.data.files import write_whole
from reasrm_training.data.step_log import StepLog
from reasrm_training.loop.arguments import required
from reasrm_training.measure.evaluate import Evaluation, evaluate
from reasrm_training.measure.generation import Generate, by_model, by_sglang, end_tokens
from reasrm_training.measure.table import percent, table
from reasrm_training.model.loading import ADAPTER, load_policy, weights_digest
from reasrm_training.model.tokenizer import load_tokenizer, token_counter
from reasrm_training.report.card import write_card
from reasrm_training.world.domain import domain

#: Called while a stage works: how much is done, of how much (None: unknown), and a note for people.
Show = Callable[[int, int | None, str], None]

MODEL_STAGES: tuple[Stage, ...] = ("distill", "rlvr")
_SHOWN = {
    "loss": "loss",
    "reward": "reward",
    "verdict_accuracy": "accuracy",
    "order_consistency": "consistency",
    "format": "format",
}


def data(recipe: Recipe, show: Show) -> str:
    """Sources or a world -> examples that get chains, examples with labels only, and examples to measure on."""
    from reasrm_training.data.mix import make_data

    manifest = make_data(recipe, recipe.folder("data"), token_counter, on_rows=lambda what, done, total: show(done, total, what))
    return ", ".join(f"{report.rows:,} {part}" for part, report in manifest.parts.items())


def chains(recipe: Recipe, show: Show) -> str:
    """Examples -> chains whose verdict equals the label."""
    from reasrm_training.oracle.chains import make_chains

    report = make_chains(
        recipe,
        recipe.folder("data"),
        recipe.folder("chains"),
        environ=os.environ,
        watch=lambda state: show(state.done, state.examples, f"{state.kept:,} kept, ${state.spend.usd:.2f}"),
    )
    return f"{sum(report.kept.values()):,} of {report.examples:,} kept, ${report.spend.usd:.2f}"


def distill(recipe: Recipe, show: Show) -> str:
    """Chains -> a model that writes such chains."""
    from reasrm_training.loop.fit import MetricsWriter
    from reasrm_training.oracle.chains import read_chains
    from reasrm_training.sft.trainer import train

    folder = recipe.folder("distill")
    lessons = list(read_chains(recipe.folder("chains") / "chains.jsonl"))
    metrics = MetricsWriter(folder, on_step=_showing(show))
    return f"weights {weights_digest(train(recipe, lessons, folder, callbacks=[metrics], probed=_probed(recipe)))}"


def rlvr(recipe: Recipe, show: Show) -> str:
    """Labels -> a model whose verdicts are more often right."""
    from reasrm_training.loop.fit import MetricsWriter
    from reasrm_training.rl.prompts import labelled_prompts
    from reasrm_training.rl.trainer import train

    folder, settings = recipe.folder("rlvr"), required(recipe.rlvr, "rlvr")
    pack = load_pack(recipe.prompts)
    prompts = list(labelled_prompts(read_examples(recipe.folder("data") / "rlvr.jsonl"), recipe, pack))
    metrics = MetricsWriter(folder, stride=settings.updates_per_step, on_step=_showing(show))
    start = trained(recipe, "distill")
    model = train(recipe, prompts, folder, kind=pack.kind, start=start, callbacks=[metrics], probed=_probed(recipe))
    return f"weights {weights_digest(model)}"


def measure(recipe: Recipe, show: Show) -> str:
    """Each trained model -> how well it judges held-out pairs; the last model also by sampling and voting."""
    settings = recipe.evaluate
    if settings is None:
        return ""
    folder, pack = recipe.folder("evaluate"), load_pack(recipe.prompts)
    heldout = list(read_examples(recipe.folder("data") / "heldout.jsonl"))[: settings.pairs]
    evaluations: dict[str, Evaluation] = {}
    models = {stage: path for stage in MODEL_STAGES if (path := trained(recipe, stage))} or {"model": None}
    for name, path in models.items():
        done = folder / f"{name}.json"
        if not done.exists():
            with _generating(recipe, path, lambda done, total, name=name: show(done, total, f"judging with {name}")) as generate:
                result = evaluate(
                    heldout,
                    generate,
                    pack,
                    recipe.fence_key,
                    model=weights_digest(path) if path else str(recipe.model.path),
                    votes=settings.votes if name == list(models)[-1] else (),
                    sampled_pairs=settings.sampled_pairs,
                    replies=folder / f"{name}-replies.jsonl",
                )
            write_whole(done, (result.model_dump_json(indent=2) + "\n").encode())
        evaluations[name] = Evaluation.model_validate_json(done.read_text(encoding="utf-8"))
    write_whole(folder / "table.md", (table(evaluations) + "\n").encode())
    last = list(evaluations.values())[-1].greedy
    return f"accuracy {percent(last.accuracy)} %, order consistency {percent(last.order_consistency)} %"


def export(recipe: Recipe, show: Show) -> str:
    """The last trained model -> a folder to serve: safetensors, tokenizer, prompts, recipe, card, and the domain of a world."""
    import torch

    folder = recipe.folder("export")
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    source = trained(recipe, "rlvr") or trained(recipe, "distill")
    adapter = source is not None and (source / ADAPTER).exists()
    if source and adapter and not recipe.export.merge:
        shutil.copytree(source, part)
    else:
        model: Any = load_policy(recipe, source, trained=False)
        model.to(torch.bfloat16 if recipe.export.precision == "bf16" else torch.float32).save_pretrained(part)
        load_tokenizer(recipe, source).save_pretrained(part)
    shutil.copytree(_pack_folder(recipe), part / "prompts")
    (part / "recipe.json").write_text(recipe.model_dump_json(indent=2, by_alias=True, exclude={"output"}) + "\n", encoding="utf-8")
    if recipe.world:
        write_whole(part / "domain.json", (json.dumps(domain(), indent=1) + "\n").encode())
    measured = recipe.folder("evaluate")
    write_card(recipe, part)
    if recipe.evaluate and measured.is_dir():
        shutil.copy(
            next(measured / f"{s}.json" for s in ("rlvr", "distill", "model") if (measured / f"{s}.json").exists()),
            part / "evaluation.json",
        )
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return f"{folder}, weights {weights_digest(folder)}"


STAGES: Mapping[Stage, Callable[[Recipe, Show], str]] = {
    "data": data,
    "chains": chains,
    "distill": distill,
    "rlvr": rlvr,
    "evaluate": measure,
    "export": export,
}


def trained(recipe: Recipe, stage: Stage) -> Path | None:
    """The model that `stage` left; None where it has not run."""
    model = recipe.folder(stage) / "model"
    return model if model.is_dir() and stage in recipe.stages else None


@contextmanager
def _generating(recipe: Recipe, model: Path | None, on_reply: Callable[[int, int], None]) -> Iterator[Generate]:
    """The generator of a measurement's replies: an SGLang server if the recipe samples with one, else transformers."""
    settings, rollouts = recipe.evaluate, recipe.rollouts
    tokenizer = load_tokenizer(recipe, model)
    if rollouts.backend == "sglang" and model and not (model / ADAPTER).exists():
        from transformers import GenerationConfig

        from reasrm_training.rl.sampler import serving

        ends = end_tokens(tokenizer, GenerationConfig.from_pretrained(model))
        with serving(recipe, model, recipe.folder("evaluate"), together=False) as own:
            server: Any = own
            version = weights_digest(model)
            server.load_folder(model, version)
            yield by_sglang(server, tokenizer, version=version, max_tokens=recipe.reply_tokens, ends=ends, on_reply=on_reply)
        return
    import torch

    device = "cuda" if recipe.cluster.gpus and torch.cuda.is_available() else "cpu"
    loaded: Any = load_policy(recipe, model, trained=False, precision=recipe.precision if device == "cuda" else "fp32")
    loaded.to(device)
    yield by_model(loaded, tokenizer, max_tokens=recipe.reply_tokens, batch=settings.batch if settings else 64, on_reply=on_reply)


def _probed(recipe: Recipe) -> list[PreferenceExample]:
    """The held-out pairs that are judged along the way."""
    from reasrm_training.measure.probe import probe_pairs

    file = recipe.folder("data") / "heldout.jsonl"
    return probe_pairs(read_examples(file), recipe.track.pairs) if file.is_file() else []


def show_latest(recipe: Recipe, stage: Stage, show: Show) -> None:
    """Show how far a training stage is that other processes work on, by the numbers that they write."""
    settings: Any = getattr(recipe, stage)
    for row in StepLog(recipe.folder(stage) / "metrics.jsonl").read()[-1:]:
        _showing(show)(row["step"], settings.steps, row)


def _showing(show: Show) -> Callable[[int, int | None, Mapping[str, Any]], None]:
    def on_step(step: int, steps: int | None, row: Mapping[str, Any]) -> None:
        show(step, steps, ", ".join(f"{label} {row[name]:.3g}" for name, label in _SHOWN.items() if name in row))

    return on_step


def _pack_folder(recipe: Recipe) -> Path:
    return Path(recipe.prompts) if Path(recipe.prompts).is_dir() else BUILTIN / recipe.prompts
