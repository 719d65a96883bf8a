"""The stages of a run, one function each: it reads what earlier stages left, and leaves its result in a folder of its own.

Each can be started again at any point: what it had finished is found and kept. A function returns one line about its result.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reasrm.prompts import BUILTIN, Pack, load_pack
from reasrm.types import Order
from reasrm_training.config.recipe import Recipe, Stage
from reasrm_training.data.examples import PreferenceExample, read_examples, write_whole
from reasrm_training.measure.evaluate import Evaluation, evaluate, percent, table
from reasrm_training.measure.sampling import Generate, by_model, by_sglang, end_tokens
from reasrm_training.model import loading
from reasrm_training.report.card import write_card
from reasrm_training.rl.trainer import LabelledPrompt
from reasrm_training.world.domain import domain

#: Told while a stage works: how much is done, of how much (None: nobody knows), and what to say about it.
Tell = Callable[[int, int | None, str], None]

MODEL_STAGES: tuple[Stage, ...] = ("distill", "rlvr")
_SHOWN = {
    "loss": "loss",
    "reward": "reward",
    "verdict_accuracy": "accuracy",
    "order_consistency": "consistency",
    "format": "format",
}


def data(recipe: Recipe, tell: Tell) -> str:
    """Sources or a world -> examples to get chains, to learn from by their labels, and to measure by."""
    from reasrm_training.data.mix import make_data

    manifest = make_data(recipe, recipe.folder("data"), progress=lambda what, done, total: tell(done, total, what))
    return ", ".join(f"{report.rows:,} {part}" for part, report in manifest.parts.items())


def chains(recipe: Recipe, tell: Tell) -> str:
    """Examples -> chains whose verdict equals the label."""
    from reasrm_training.oracle.chains import make_chains

    report = make_chains(
        recipe,
        recipe.folder("data"),
        recipe.folder("chains"),
        environ=os.environ,
        watch=lambda tally: tell(tally.done, tally.examples, f"{tally.kept:,} kept, ${tally.spend.usd:.2f}"),
    )
    return f"{sum(report.kept.values()):,} of {report.examples:,} kept, ${report.spend.usd:.2f}"


def distill(recipe: Recipe, tell: Tell) -> str:
    """Chains -> a model that writes such."""
    from reasrm_training.oracle.chains import read_chains
    from reasrm_training.run.monitor import Report
    from reasrm_training.sft import trainer as stage

    folder = recipe.folder("distill")
    found = list(read_chains(recipe.folder("chains") / "chains.jsonl"))
    model = stage.train(recipe, found, folder, callbacks=[Report(folder, progress=_telling(tell))], probed=_probed(recipe))
    return f"weights {loading.weights_digest(model)}"


def rlvr(recipe: Recipe, tell: Tell) -> str:
    """Labels -> a model whose verdicts are more often right."""
    from reasrm_training.rl import trainer as stage
    from reasrm_training.run.monitor import Report

    folder, settings = recipe.folder("rlvr"), loading.required(recipe.rlvr, "rlvr")
    pack = load_pack(recipe.prompts)
    tasks = list(tasks_of(read_examples(recipe.folder("data") / "rlvr.jsonl"), recipe, pack))
    report = Report(folder, stride=settings.updates_per_step, progress=_telling(tell))
    start = trained(recipe, "distill")
    model = stage.train(recipe, tasks, folder, kind=pack.kind, start=start, callbacks=[report], probed=_probed(recipe))
    return f"weights {loading.weights_digest(model)}"


def measure(recipe: Recipe, tell: Tell) -> str:
    """Each trained model -> how well it judges pairs that it has not seen; the last one also by sampling and voting."""
    settings = recipe.evaluate
    if settings is None:
        return ""
    folder, pack = recipe.folder("evaluate"), load_pack(recipe.prompts)
    heldout = list(read_examples(recipe.folder("data") / "heldout.jsonl"))[: settings.pairs]
    found: dict[str, Evaluation] = {}
    models = {stage: path for stage in MODEL_STAGES if (path := trained(recipe, stage))} or {"model": None}
    for name, path in models.items():
        done = folder / f"{name}.json"
        if not done.exists():
            with _generating(recipe, path, lambda n, of, name=name: tell(n, of, f"judging with {name}")) as generate:
                result = evaluate(
                    heldout,
                    generate,
                    pack,
                    recipe.fence_key,
                    model=loading.weights_digest(path) if path else str(recipe.model.path),
                    votes=settings.votes if name == list(models)[-1] else (),
                    sampled_pairs=settings.sampled_pairs,
                    replies=folder / f"{name}-replies.jsonl",
                )
            write_whole(done, (result.model_dump_json(indent=2) + "\n").encode())
        found[name] = Evaluation.model_validate_json(done.read_text(encoding="utf-8"))
    write_whole(folder / "table.md", (table(found) + "\n").encode())
    last = list(found.values())[-1].greedy
    return f"accuracy {percent(last.accuracy)} %, order consistency {percent(last.order_consistency)} %"


def export(recipe: Recipe, tell: Tell) -> str:
    """The last trained model -> a folder to serve: safetensors, tokenizer, prompts, recipe, its card, and a world's domain."""
    import torch

    folder = recipe.folder("export")
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    source = trained(recipe, "rlvr") or trained(recipe, "distill")
    adapter = source is not None and (source / "adapter_config.json").exists()
    if source and adapter and not recipe.export.merge:
        shutil.copytree(source, part)
    else:
        model: Any = loading.load_policy(recipe, source, trained=False)
        model.to(torch.bfloat16 if recipe.export.precision == "bf16" else torch.float32).save_pretrained(part)
        loading.load_tokenizer(recipe, source).save_pretrained(part)
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
    return f"{folder}, weights {loading.weights_digest(folder)}"


STAGES: Mapping[Stage, Callable[[Recipe, Tell], str]] = {
    "data": data,
    "chains": chains,
    "distill": distill,
    "rlvr": rlvr,
    "evaluate": measure,
    "export": export,
}


def trained(recipe: Recipe, stage: Stage) -> Path | None:
    """The model that `stage` left, None where it has not run."""
    model = recipe.folder(stage) / "model"
    return model if model.is_dir() and stage in recipe.stages else None


def tasks_of(examples: Iterator[PreferenceExample], recipe: Recipe, pack: Pack) -> Iterator[LabelledPrompt]:
    """The prompts of RL: each example in both orders, or as given."""
    orders: tuple[Order, ...] = ("ab", "ba") if loading.required(recipe.rlvr, "rlvr").orders == "both" else ("ab",)
    for example in examples:
        for order in orders:
            shown = example if order == "ab" else example.swapped()
            messages = pack.render(shown.pair, recipe.fence_key)
            yield LabelledPrompt(messages, shown.winner, example.id, order, example.strength)


@contextmanager
def _generating(recipe: Recipe, model: Path | None, progress: Callable[[int, int], None]) -> Iterator[Generate]:
    """What writes the replies of a measurement: an SGLang server if that is what the recipe samples with."""
    settings, rollouts = recipe.evaluate, recipe.rollouts
    tokenizer = loading.load_tokenizer(recipe, model)
    if rollouts.backend == "sglang" and model and not (model / "adapter_config.json").exists():
        from transformers import GenerationConfig

        from reasrm_training.rl.sampler import serving

        ends = end_tokens(tokenizer, GenerationConfig.from_pretrained(model))
        with serving(recipe, model, recipe.folder("evaluate"), together=False) as found:
            server: Any = found
            version = loading.weights_digest(model)
            server.load_folder(model, version)
            yield by_sglang(server, tokenizer, version=version, max_tokens=recipe.reply_tokens, ends=ends, progress=progress)
        return
    import torch

    device = "cuda" if recipe.cluster.gpus and torch.cuda.is_available() else "cpu"
    loaded: Any = loading.load_policy(recipe, model, trained=False, precision=recipe.precision if device == "cuda" else "fp32")
    loaded.to(device)
    yield by_model(loaded, tokenizer, max_tokens=recipe.reply_tokens, batch=settings.batch if settings else 64, progress=progress)


def _probed(recipe: Recipe) -> list[PreferenceExample]:
    """The held-out pairs that are judged along the way."""
    from reasrm_training.measure.probe import chosen

    file = recipe.folder("data") / "heldout.jsonl"
    return chosen(read_examples(file), recipe.track.pairs) if file.is_file() else []


def tell_latest(recipe: Recipe, stage: Stage, tell: Tell) -> None:
    """Tell how far a training stage is that other processes work on, by the numbers that they leave."""
    from reasrm_training.run.monitor import StepLog

    settings: Any = getattr(recipe, stage)
    for row in StepLog(recipe.folder(stage) / "metrics.jsonl").read()[-1:]:
        _telling(tell)(row["step"], settings.steps, row)


def _telling(tell: Tell) -> Callable[[int, int | None, Mapping[str, Any]], None]:
    def told(step: int, steps: int | None, row: Mapping[str, Any]) -> None:
        tell(step, steps, ", ".join(f"{label} {row[name]:.3g}" for name, label in _SHOWN.items() if name in row))

    return told


def _pack_folder(recipe: Recipe) -> Path:
    return Path(recipe.prompts) if Path(recipe.prompts).is_dir() else BUILTIN / recipe.prompts
