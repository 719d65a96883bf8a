"""`reasrm keys`: API keys for a gateway."""

from __future__ import annotations

import hashlib
import secrets
import sys
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="API keys for a gateway (reasrm serve --keys FILE).")


@app.callback()
def _root() -> None:
    """Keep `new` a command of its own, also while it is the only one."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    rate: Annotated[str | None, typer.Option(help='The most requests, such as "600/minute".')] = None,
    concurrency: Annotated[int | None, typer.Option(help="The most requests at once.", min=1)] = None,
    priority: Annotated[int, typer.Option(help="Whose judgments go first.", min=-10, max=10)] = 0,
    admin: Annotated[bool, typer.Option("--admin", help="May move the judge's weights.")] = False,
) -> None:
    """Print a new token (once, on standard error) and the entry for the key file, which holds only its hash.

    Example: reasrm keys new team-a --rate 600/minute >> keys.toml
    """
    import json

    token = f"rrm_{secrets.token_urlsafe(32)}"
    fields = {"name": name, "sha256": hashlib.sha256(token.encode()).hexdigest(), "rate": rate, "concurrency": concurrency}
    fields |= {"priority": priority or None, "admin": admin or None}
    lines = [f"{field} = {json.dumps(value)}" for field, value in fields.items() if value is not None]
    sys.stdout.write("[[key]]\n" + "\n".join(lines) + "\n\n")
    sys.stderr.write(f"the token of {name}, shown this once: {token}\n")
