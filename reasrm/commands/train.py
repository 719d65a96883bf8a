"""`reasrm train`: a recipe's run, parts of it, and its needs."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

if TYPE_CHECKING:
    from reasrm_training.config.recipe import Recipe
    from reasrm_training.config.values import Stage
    from reasrm_training.plan.estimate import Plan
    from rich.console import Console

app = typer.Typer(
    no_args_is_help=True,
    help="Train a judge: data, oracle chains, distillation, RL, measurement, export.",
    epilog="""Examples:

  reasrm train plan rm-r1-qwen2.5-instruct-7b

  reasrm train run tiny

  reasrm train run mine.toml --set rlvr.steps=40 --output runs/short

A RECIPE is a .toml file or a built-in name (reasrm train recipes). The same command continues a run that was stopped.""",
)

RecipeArgument = Annotated[str, typer.Argument(help="A .toml file, or a built-in recipe's name.", show_default=False)]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Change a value: rlvr.steps=40. May be given many times.", show_default=False)
]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="The run's folder; runs/NAME otherwise.")]
RestartOption = Annotated[
    str | None, typer.Option("--restart", help="Throw away this stage and those after it, and do them again.", show_default=False)
]


def check_installed() -> None:
    """Raise InputError if the trainer is not installed."""
    try:
        import reasrm_training.config.recipes as _  # noqa: F401
    except ImportError as error:
        from reasrm.errors import InputError

        raise InputError(f"training is not installed ({error.name} is missing): pip install 'reasrm[train]'") from error


def recipe_of(recipe: str, changes: list[str] | None, output: Path | None) -> Recipe:
    """Read a recipe, with the changes of the command line."""
    check_installed()
    from reasrm_training.config.recipes import load_recipe

    placed = [f"output={json.dumps(str(output))}"] if output else []
    return load_recipe(recipe, [*(changes or []), *placed])


@app.command(
    epilog="""Examples:

  reasrm train run tiny

  reasrm train run mine.toml --set seed=2 --output runs/second

  reasrm train run mine.toml --restart rlvr

On several nodes start it on each under accelerate; reasrm train plan prints the command."""
)
def run(recipe: RecipeArgument, changes: SetOption = None, output: OutputOption = None, restart: RestartOption = None) -> None:
    """Run all stages of a recipe, from data to export. It goes on where it was stopped."""
    _run(recipe_of(recipe, changes, output), None, restart)


@app.command()
def distill(recipe: RecipeArgument, changes: SetOption = None, output: OutputOption = None, restart: RestartOption = None) -> None:
    """Run stage 1: supervised fine-tuning on chains, after the data and chains that it needs."""
    _run(recipe_of(recipe, changes, output), "distill", restart)


@app.command()
def rlvr(recipe: RecipeArgument, changes: SetOption = None, output: OutputOption = None, restart: RestartOption = None) -> None:
    """Run stage 2: GRPO with verifiable rewards, after the earlier stages that are not done yet."""
    _run(recipe_of(recipe, changes, output), "rlvr", restart)


def _run(recipe: Recipe, last: Stage | None, restart: str | None) -> None:
    """Run the stages up to `last`, or all. Mistakes that can be seen without torch are reported before it is loaded."""
    from reasrm_training.run.checks import check_quickly
    from rich.console import Console

    stages = _stages(recipe, last)
    first = _restarted(recipe, restart)
    check_quickly(recipe, stages)
    console = Console(stderr=True)
    with _loading(console):
        from reasrm_training.model import libraries
        from reasrm_training.model.processes import processes
        from reasrm_training.run.pipeline import run as run_recipe
        from reasrm_training.run.progress import Display

        libraries.quiet()
    with Display(console) as display:
        folder = run_recipe(recipe, display, only=stages if last else (), restart=first)
    if processes(recipe).is_main_process:
        sys.stderr.write(f"report: {folder / 'report.html'}\n")
        sys.stdout.write(f"{folder}\n")


def _stages(recipe: Recipe, last: Stage | None) -> tuple[Stage, ...]:
    """The recipe's stages up to `last`, or all. Raises RecipeError where it does not have that stage."""
    from reasrm.errors import RecipeError

    if last is None:
        return recipe.stages
    if last not in recipe.stages:
        raise RecipeError(f"{recipe.name}: the recipe has no [{last}]")
    return recipe.stages[: recipe.stages.index(last) + 1]


def _restarted(recipe: Recipe, restart: str | None) -> Stage | None:
    """The stage that --restart names. Raises RecipeError where the recipe does not have it."""
    from reasrm.errors import RecipeError

    if restart is None:
        return None
    for stage in recipe.stages:
        if stage == restart:
            return stage
    raise RecipeError(f"--restart {restart}: no such stage; there are {', '.join(recipe.stages)}")


@contextmanager
def _loading(console: Console) -> Generator[None]:
    """Say that libraries are being loaded, which takes many seconds where files are read for the first time."""
    from reasrm_training.model.processes import is_first

    text = "loading torch and transformers ..."
    if console.is_terminal:
        with console.status(text):
            yield
        return
    if is_first():
        console.print(text, highlight=False)
    yield


@app.command(
    epilog="""Examples:

  reasrm train report runs/tiny

  reasrm train report runs/tiny --baseline runs/answers-only --baseline runs/sft/evaluate/distill.json -o compared.html

It is made from the files of the run, also while it runs or after it was stopped."""
)
def report(
    folder: Annotated[Path, typer.Argument(help="The run's folder.", show_default=False)],
    baseline: Annotated[
        list[Path] | None,
        typer.Option(help="A measurement to compare with, or the folder of a run. May be given many times.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file to write; report.html in the run's folder otherwise.")
    ] = None,
) -> None:
    """Write a run's report: its table, its curves, and the same pairs judged at several moments of the training."""
    check_installed()
    from reasrm_training.report import RunFolder, baselines, write_report

    sys.stdout.write(f"{write_report(RunFolder.at(folder), against=baselines(baseline or ()), to=output)}\n")


@app.command(
    epilog="""Examples:

  reasrm train plan rm-r1-qwen2.5-instruct-14b

  reasrm train plan mine.toml --prompt-tokens 1200 --reply-tokens 900 --json"""
)
def plan(
    recipe: RecipeArgument,
    changes: SetOption = None,
    output: OutputOption = None,
    prompt_tokens: Annotated[int | None, typer.Option(help="Mean tokens of your prompts.", min=1)] = None,
    reply_tokens: Annotated[int | None, typer.Option(help="Mean tokens of a judgment.", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show GPUs, memory by part, tokens, hours, disk and oracle costs before anything is spent. Loads no model."""
    from reasrm_training.plan.estimate import Lengths, usual_lengths
    from reasrm_training.plan.estimate import plan as plan_of

    loaded = recipe_of(recipe, changes, output)
    usual = usual_lengths(loaded)
    lengths = Lengths(prompt=prompt_tokens or usual.prompt, reply=reply_tokens or usual.reply)
    changed = [*(word for change in changes or () for word in ("--set", change)), *(("--output", str(output)) if output else ())]
    needs = plan_of(loaded, lengths, shlex.join([recipe, *changed]))
    if as_json:
        sys.stdout.write(needs.model_dump_json(indent=2) + "\n")
    else:
        _show(loaded, needs)


@app.command(
    epilog="""Examples:

  reasrm train gguf runs/mine/export

  reasrm train gguf runs/mine/export -o mine.gguf --type q8_0

Llama, Qwen2 and Qwen3 with a byte-level BPE. llama.cpp reads the file and cuts test texts before the file gets its name."""
)
def gguf(
    folder: Annotated[
        Path, typer.Argument(help="The model's folder: safetensors, config.json, tokenizer.json.", show_default=False)
    ],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The file to write; FOLDER/model.gguf otherwise.")] = None,
    precision: Annotated[str, typer.Option("--type", help="The type of matrices: f32, f16, or q8_0 (8 bits).")] = "f16",
) -> None:
    """Write a model as one GGUF file, for llama.cpp, Ollama and LM Studio."""
    from reasrm.errors import InputError

    check_installed()
    try:
        from reasrm_training.export.gguf_file import PRECISIONS, write_gguf
    except ImportError as error:
        raise InputError(f"{error.name} is missing: pip install 'reasrm[train]'") from error
    if precision not in PRECISIONS:
        raise InputError(f"--type is one of {', '.join(PRECISIONS)}, not {precision!r}", field="type")
    file, checked = write_gguf(folder, output, cast("Any", precision))
    sys.stderr.write(f"llama.cpp cuts {checked} test texts as the folder's tokenizer does\n")
    sys.stdout.write(f"{file}\n")


@app.command()
def recipes(name: Annotated[str | None, typer.Argument(help="Print this one.", show_default=False)] = None) -> None:
    """List the built-in recipes, or print one as a start for your own."""
    check_installed()
    from reasrm_training.config.recipes import FOLDER, built_in_recipes, load_recipe

    if name is not None:
        load_recipe(name)
        sys.stdout.write((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
        return
    for known in built_in_recipes():
        loaded = load_recipe(known)
        gpus = loaded.cluster.nodes * loaded.cluster.gpus
        where = f"{gpus} x {loaded.cluster.gpu}" if gpus else "CPU"
        sys.stdout.write(f"{known:<36} {where:<10} {', '.join(loaded.stages)}\n")


def _show(recipe: Recipe, needs: Plan) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    cluster = recipe.cluster
    machines = f"{cluster.nodes} x {cluster.gpus} {cluster.gpu}" if cluster.gpus else "the CPU"
    share = needs.trained_parameters / needs.parameters
    console.print(f"[bold]{needs.recipe}[/bold] on {machines}, sharding {cluster.sharding}")
    console.print(f"{needs.parameters / 1e9:,.4g} B parameters, {share:.2%} of them trained, by {needs.trainers} processes")
    console.print(
        f"lengths: {needs.lengths.prompt:,} tokens per prompt, {needs.lengths.reply:,} per reply (--prompt-tokens, --reply-tokens)"
    )
    for stage in needs.stages:
        # A table's own title wraps at the table's width.
        console.print(f"{stage.stage}: memory{' of one GPU' if cluster.gpus else ''}", style="italic")
        table = Table()
        table.add_column("part")
        table.add_column("GB", justify="right")
        for part, size in stage.memory.items():
            if size:
                table.add_row(part, f"{size / 1e9:,.2f}")
        used = sum(stage.memory.values())
        verdict = "[green]fits[/green]" if stage.fits else "[red]does not fit[/red]"
        table.add_section()
        table.add_row(f"of {stage.limit / 1e9:,.0f}: {verdict}", f"{used / 1e9:,.2f}")
        console.print(table)
        hours = ", ".join(f"{kind} {spent:,.2f} h" for kind, spent in stage.hours.items())
        console.print(f"{stage.trained_tokens:.3g} tokens trained on, {stage.sampled_tokens:.3g} sampled; about {hours}")
    if needs.oracle:
        tokens = f"{needs.oracle.prompt_tokens:.3g} tokens in, {needs.oracle.reply_tokens:.3g} out"
        console.print(f"oracles: {needs.oracle.requests:,.0f} requests, {tokens}, ${needs.oracle.usd:,.2f} by the recipe's prices")
    console.print(f"in all about {needs.hours:,.1f} h and {needs.disk / 1e9:,.1f} GB of disk")
    console.print("start:", soft_wrap=True)
    console.print(f"  {needs.command}", soft_wrap=True, markup=False, highlight=False)
