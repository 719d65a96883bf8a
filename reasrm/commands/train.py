"""`reasrm train`: a recipe's run, parts of it, and what it will need."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from reasrm_training.config.recipe import Recipe
    from reasrm_training.plan.plan import Plan

app = typer.Typer(
    no_args_is_help=True,
    help="Train a judge: data, oracle chains, distillation, RL, measurement, export.",
    epilog="""Examples:

  reasrm train plan rm-r1-qwen2.5-instruct-7b

  reasrm train run tiny

  reasrm train run mine.toml --set rlvr.steps=40 --output runs/short

A RECIPE is a .toml file or a built-in name (reasrm train recipes). A run that was stopped goes on by the same command.""",
)

RecipeArgument = Annotated[str, typer.Argument(help="A .toml file, or a built-in recipe's name.", show_default=False)]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Change a value: rlvr.steps=40. May be given many times.", show_default=False)
]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="The run's folder; runs/NAME otherwise.")]
RestartOption = Annotated[
    str | None, typer.Option("--restart", help="Throw this stage and those after it away, and do them anew.", show_default=False)
]


def check_installed() -> None:
    """Raises InputError where there is no trainer."""
    try:
        import reasrm_training.config.recipes as _  # noqa: F401
    except ImportError as error:
        from reasrm.errors import InputError

        raise InputError(f"training is not installed ({error.name} is missing): pip install 'reasrm[train]'") from error


def recipe_of(recipe: str, changes: list[str] | None, output: Path | None) -> Recipe:
    """Read a recipe with what the command line changes in it."""
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
    """Everything a recipe asks for, from data to export; goes on where it was stopped."""
    _run(recipe_of(recipe, changes, output), None, restart)


@app.command()
def distill(recipe: RecipeArgument, changes: SetOption = None, output: OutputOption = None, restart: RestartOption = None) -> None:
    """Stage 1 only: supervised fine-tuning on chains, after the data and chains that it needs."""
    _run(recipe_of(recipe, changes, output), "distill", restart)


@app.command()
def rlvr(recipe: RecipeArgument, changes: SetOption = None, output: OutputOption = None, restart: RestartOption = None) -> None:
    """Stage 2 only: GRPO with verifiable rewards, after the stages before it that are not done yet."""
    _run(recipe_of(recipe, changes, output), "rlvr", restart)


def _run(recipe: Recipe, last: str | None, restart: str | None) -> None:
    """Run the stages up to `last`, or all."""
    from typing import get_args

    from reasrm_training.config.recipe import Stage

    from reasrm.errors import RecipeError

    if restart is not None and restart not in get_args(Stage):
        raise RecipeError(f"--restart {restart}: no such stage; there are {', '.join(get_args(Stage))}")
    if last is not None and last not in recipe.stages:
        raise RecipeError(f"{recipe.name}: the recipe has no [{last}]")

    # From here on torch is loaded, which takes its time.
    from reasrm_training.model import loading
    from reasrm_training.run.pipeline import run as run_recipe
    from reasrm_training.run.progress import Display
    from rich.console import Console

    wanted: Any = recipe.stages[: recipe.stages.index(last) + 1] if last else ()  # type: ignore[arg-type]
    loading.quiet()
    with Display(Console(stderr=True)) as display:
        folder = run_recipe(recipe, display, only=wanted, restart=restart)  # type: ignore[arg-type]
    if loading.processes(recipe).is_main_process:
        sys.stderr.write(f"report: {folder / 'report.html'}\n")
        sys.stdout.write(f"{folder}\n")


@app.command(
    epilog="""Examples:

  reasrm train report runs/tiny

  reasrm train report runs/tiny --baseline runs/answers-only --baseline runs/sft/evaluate/distill.json -o compared.html

It is made from what the run left on disk, also while it runs or after it was stopped."""
)
def report(
    folder: Annotated[Path, typer.Argument(help="The run's folder.", show_default=False)],
    baseline: Annotated[
        list[Path] | None,
        typer.Option(help="A measurement to compare with, or the folder of a run. May be given many times.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to; report.html in the run's folder otherwise.")
    ] = None,
) -> None:
    """Write a run's report: its table, its curves, and the same pairs judged as training went on."""
    check_installed()
    from reasrm_training.report import Left, baselines, write_report

    sys.stdout.write(f"{write_report(Left.at(folder), against=baselines(baseline or ()), to=output)}\n")


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
    """GPUs, memory by part, tokens, hours, disk and oracle money, before anything is spent. Loads no model."""
    from reasrm_training.plan.plan import Lengths, usual_lengths
    from reasrm_training.plan.plan import plan as plan_of

    loaded = recipe_of(recipe, changes, output)
    usual = usual_lengths(loaded)
    lengths = Lengths(prompt=prompt_tokens or usual.prompt, reply=reply_tokens or usual.reply)
    changed = [*(word for change in changes or () for word in ("--set", change)), *(("--output", str(output)) if output else ())]
    found = plan_of(loaded, lengths, shlex.join([recipe, *changed]))
    if as_json:
        sys.stdout.write(found.model_dump_json(indent=2) + "\n")
    else:
        _show(loaded, found)


@app.command()
def recipes(name: Annotated[str | None, typer.Argument(help="Print this one.", show_default=False)] = None) -> None:
    """The built-in recipes, or the text of one: a start for your own."""
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


def _show(recipe: Recipe, found: Plan) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    cluster = recipe.cluster
    machines = f"{cluster.nodes} x {cluster.gpus} {cluster.gpu}" if cluster.gpus else "the CPU"
    share = found.trained_parameters / found.parameters
    console.print(f"[bold]{found.recipe}[/bold] on {machines}, sharding {cluster.sharding}")
    console.print(f"{found.parameters / 1e9:,.4g} B parameters, {share:.2%} of them trained, by {found.trainers} processes")
    console.print(
        f"lengths: {found.lengths.prompt:,} tokens a prompt, {found.lengths.reply:,} a reply (--prompt-tokens, --reply-tokens)"
    )
    for stage in found.stages:
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
    if found.oracle:
        tokens = f"{found.oracle.prompt_tokens:.3g} tokens in, {found.oracle.reply_tokens:.3g} out"
        console.print(f"oracles: {found.oracle.requests:,.0f} requests, {tokens}, ${found.oracle.usd:,.2f} by the recipe's prices")
    console.print(f"in all about {found.hours:,.1f} h and {found.disk / 1e9:,.1f} GB of disk")
    console.print("start:", soft_wrap=True)
    console.print(f"  {found.command}", soft_wrap=True, markup=False, highlight=False)
