"""`reasrm data`: preference data before and around training."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reasrm.commands import flags
from reasrm.commands.train import OutputOption, RecipeArgument, SetOption, recipe_of

if TYPE_CHECKING:
    from reasrm_training.config.recipe import Recipe
    from reasrm_training.data.mix import DataManifest
    from reasrm_training.oracle.chains import ChainReport
    from reasrm_training.oracle.client import OracleProgress

app = typer.Typer(no_args_is_help=True, help="Mix preference data, get oracle chains for it, measure and clean it.")
flags.add(
    app,
    "strength",
    "reasrm.commands.strength:strength",
    "Measure how strongly each pair is preferred, by votes in both orders or by several judges.",
)
flags.add(
    app,
    "clean",
    "reasrm.commands.clean:clean",
    "Flip, drop or soften labels by their strength, and drop duplicates and contamination.",
)


@app.command(
    epilog="""Examples:

  reasrm data mix rm-r1-qwen2.5-instruct-7b

  reasrm data mix mine.toml --set data.heldout=1000 --output runs/mine

The same recipe over the same sources gives the same bytes; manifest.json counts what each rule dropped."""
)
def mix(recipe: RecipeArgument, changes: SetOption = None, output: OutputOption = None) -> None:
    """Sample, clean, balance and split the sources of a recipe into RUN/data."""
    loaded = recipe_of(recipe, changes, output)
    from reasrm_training.data.files import locked
    from reasrm_training.data.mix import make_data
    from reasrm_training.model.tokenizer import token_counter
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    bar = Progress(
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()),
        console=console,
        disable=not console.is_terminal,
    )
    with locked(loaded.run_folder), bar:
        task = bar.add_task("reading", total=None)
        manifest = make_data(
            loaded,
            loaded.folder("data"),
            token_counter,
            on_rows=lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
        )
    _show_manifest(loaded.folder("data"), manifest)


@app.command(
    epilog="""Examples:

  reasrm data distill mine.toml

  reasrm data distill mine.toml --set oracle.samples=8        (rejection sampling from oracle.first)

  reasrm data distill mine.toml --write-batch                 (files for OpenAI's batch API, instead of asking)

  reasrm data distill mine.toml --read-batch results.jsonl

Replies are kept one by one in RUN/chains/journal.jsonl: the same command goes on where it was stopped."""
)
def distill(
    recipe: RecipeArgument,
    changes: SetOption = None,
    output: OutputOption = None,
    write_batch: Annotated[bool, typer.Option("--write-batch", help="Write the open requests as batch files.")] = False,
    read_batch: Annotated[
        list[Path] | None, typer.Option("--read-batch", help="Take a batch's results. May be given many times.", show_default=False)
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Throw earlier replies away.")] = False,
) -> None:
    """Ask the recipe's oracles for chains to the examples in RUN/data, and keep the right ones in RUN/chains."""
    loaded = recipe_of(recipe, changes, output)
    from reasrm_training.data.files import locked
    from reasrm_training.data.mix import make_data
    from reasrm_training.model.tokenizer import token_counter
    from reasrm_training.oracle.chains import make_chains

    data, chains = loaded.folder("data"), loaded.folder("chains")
    with locked(loaded.run_folder):
        make_data(loaded, data, token_counter)
        if write_batch or read_batch:
            report = _by_files(loaded, read_batch or [], write=write_batch, restart=restart)
        else:
            report = _watched(lambda watch: make_chains(loaded, data, chains, environ=os.environ, watch=watch, restart=restart))
    _show_chains(chains, report)


def _watched(asking: Callable[[Callable[[OracleProgress], None]], ChainReport]) -> ChainReport:
    """Send the requests behind a progress bar that shows the kept chains, the failures and the cost."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def watch(tally: OracleProgress) -> None:
            trouble = _counted(tally.failures)
            text = f"{tally.kept:,} kept, {tally.spend.tokens:,} tokens, ${tally.spend.usd:,.2f}"
            bar.update(task, completed=tally.done, total=tally.examples, description=text + (f" ({trouble})" if trouble else ""))

        return asking(watch)


def _by_files(recipe: Recipe, results: list[Path], *, write: bool, restart: bool) -> ChainReport:
    """Take batch results, write the requests that are still open, and keep the chains that are right so far."""
    from reasrm_training.data.examples import read_examples
    from reasrm_training.oracle.batch import read_batch, write_batches
    from reasrm_training.oracle.chains import examiner_of, finish, open_journal

    data, folder = recipe.folder("data"), recipe.folder("chains")
    examiner, examples = examiner_of(recipe), list(read_examples(data / "distill.jsonl"))
    with open_journal(recipe, data, folder, restart=restart) as journal:
        for path in results:
            counts = read_batch(path, examiner, examples, journal)
            sys.stdout.write(f"{path}: {_counted(counts) or 'empty'}\n")
        if write:
            written = write_batches(examiner, examples, journal, folder)
            for path in written.paths:
                sys.stdout.write(f"{path}\n")
            if written.left_out:
                sys.stdout.write(f"left out, because the budget may be too small for them: {written.left_out:,} requests\n")
            elif not written.paths:
                sys.stdout.write("no request is open\n")
        return finish(recipe, data, folder, journal)


def _show_manifest(folder: Path, manifest: DataManifest) -> None:
    for source in manifest.sources:
        dropped = ", ".join(f"{count:,} {rule}" for rule, count in source.dropped.items()) or "nothing"
        sys.stdout.write(f"{source.name} ({source.schema_}): {source.kept:,} of {source.rows:,} rows kept; dropped {dropped}\n")
        if source.first_error:
            sys.stdout.write(f"  the first that could not be read: {source.first_error}\n")
    if manifest.question_in_heldout:
        sys.stdout.write(f"left out of training, as a held-out row asks the same: {manifest.question_in_heldout:,}\n")
    for part, report in manifest.parts.items():
        sys.stdout.write(f"{folder / part}.jsonl: {report.rows:,} rows, A wins {report.winner_a:,}\n")


def _show_chains(folder: Path, report: ChainReport) -> None:
    kept = sum(report.kept.values())
    passes = ", ".join(f"{count:,} from the {oracle}" for oracle, count in report.kept.items())
    sys.stdout.write(f"{folder / 'chains.jsonl'}: {kept:,} of {report.examples:,} examples{f' ({passes})' if passes else ''}\n")
    if report.both_orders is not None:
        sys.stdout.write(f"right in both orders: {report.both_orders:,}\n")
    for oracle, problems in report.problems.items():
        sys.stdout.write(f"not learnt from, {oracle} pass: {_counted(problems)}\n")
    if report.failures:
        sys.stdout.write(f"attempts that failed: {_counted(report.failures)}\n")
    if report.unanswered:
        sys.stdout.write(f"without an answer: {report.unanswered:,} examples\n")
    spend = report.spend
    sys.stdout.write(
        f"{spend.requests:,} replies, {spend.prompt_tokens:,} tokens in, {spend.completion_tokens:,} out, ${spend.usd:,.2f}\n"
    )


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in Counter(counts).most_common())
