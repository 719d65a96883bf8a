"""The command line: `reasrm --help`.

Errors are for people: one line, no traceback. Exit 2 for bad input, 1 for a failure, 3 for no verdict.
"""

from __future__ import annotations

import errno
import sys

import typer

from reasrm import __version__
from reasrm.commands import audit, data, judge, keys, prompts, rank, score, serve, train
from reasrm.commands import eval as evaluation

app = typer.Typer(
    name="reasrm",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Reasoning reward models: train a judge, serve it, ask it.",
)
app.command("judge", epilog=judge.EPILOG)(judge.judge)
app.command("rank", epilog=rank.EPILOG)(rank.rank)
app.command("score", epilog=score.EPILOG)(score.score)
app.command("eval", epilog=evaluation.EPILOG)(evaluation.evaluate)
app.command("audit", epilog=audit.EPILOG)(audit.audit)
app.command("serve", epilog=serve.EPILOG)(serve.serve)
app.add_typer(prompts.app, name="prompts")
app.add_typer(keys.app, name="keys")
app.add_typer(data.app, name="data")
app.add_typer(train.app, name="train")


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"reasrm {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version.")) -> None:
    del version


def main() -> None:
    """Run the command line; the entry point of the `reasrm` script."""
    from reasrm.errors import InputError, ReasrmError

    try:
        app()
    except ReasrmError as error:
        sys.stderr.write(f"reasrm: {error}\n")
        sys.exit(2 if isinstance(error, InputError) else 1)
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        sys.stderr.write(f"reasrm: {f'{error.filename}: ' if error.filename else ''}{error.strerror}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("reasrm: stopped\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
