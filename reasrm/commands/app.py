"""The tree of commands: `reasrm --help`."""

from __future__ import annotations

import sys

import typer

from reasrm import __version__
from reasrm.commands import data, flags, prompts, train

app = typer.Typer(
    name="reasrm",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Reasoning reward models: train a judge, serve it, ask it.",
)
for name, function, about in (
    ("judge", "judge:judge", "Judge two responses to a question, and say why."),
    ("rank", "rank:rank", "Rank responses to one question: a reward for each, with its standard error."),
    ("score", "score:score", "Judge a whole data set: pairs, groups, or single responses against a reference."),
    ("eval", "eval:evaluate", "Judge a benchmark greedily and print its table, beside the published scores."),
    ("engines", "engines:engines", "Show what engines can do: log-probabilities, begun replies, stop strings, slots and more."),
    ("audit", "audit:audit", "Test a judge for reproducibility, consistency with itself and with labels, and over domains."),
):
    flags.add(app, name, f"reasrm.commands.{function}", about)
flags.add(app, "serve", "reasrm.commands.serve:serve", "Serve judgments over HTTP.", prefix="REASRM_")
app.add_typer(prompts.app, name="prompts")
keys = typer.Typer(no_args_is_help=True, help="API keys for a gateway (reasrm serve --keys FILE).")
flags.add(keys, "new", "reasrm.commands.keys:new", "Print a new token (once, on standard error) and the entry for the key file.")
app.add_typer(keys, name="keys")
app.add_typer(data.app, name="data")
app.add_typer(train.app, name="train")


@keys.callback()
def _keys() -> None:
    """Keep `new` a subcommand: typer would merge the only command of a group into the group."""


def _version(show: bool) -> None:
    if show:
        sys.stdout.write(f"reasrm {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version.")) -> None:
    del version
