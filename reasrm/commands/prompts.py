"""`reasrm prompts`: list, show and import prompt packs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="List, show and import prompt packs.")


@app.command("list")
def list_packs(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """The built-in packs with their digests."""
    from reasrm.prompts import BUILTIN, load_pack

    packs = [load_pack(entry) for entry in sorted(BUILTIN.iterdir()) if (entry / "pack.toml").exists()]
    rows = [{"name": pack.name, "kind": pack.kind, "digest": pack.digest, "reuse": pack.reuse} for pack in packs]
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    for row in rows:
        sys.stdout.write(f"{row['digest']:<24} {row['kind']:<8} {'reuses deliberations' if row['reuse'] else ''}\n")


@app.command()
def show(
    pack: Annotated[str, typer.Argument(help="A built-in pack's name, or a folder.")],
    question: Annotated[str, typer.Option(help="A question to fill in.")] = "What is 17 + 25?",
    a: Annotated[str, typer.Option(help="Response A.")] = "42",
    b: Annotated[str, typer.Option(help="Response B.")] = "43",
    rubric: Annotated[str | None, typer.Option(help="A rubric of the caller.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the messages with which a pack asks the judge, filled in."""
    from reasrm.prompts import fence_key, load_pack
    from reasrm.types import Pair

    loaded = load_pack(pack)
    pair = Pair.of(question, a, b, rubric)
    messages, prefill = loaded.render(pair, fence_key()), loaded.prefill(pair)
    if as_json:
        shown = [message.model_dump(mode="json", include={"role", "content"}) for message in messages]
        whole = {"digest": loaded.digest, "messages": shown, "prefill": prefill}
        sys.stdout.write(json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
        return
    for message in messages:
        sys.stdout.write(f"--- {message.role}\n{message.content}\n")
    if prefill:
        sys.stdout.write(f"--- the reply begins\n{prefill}")


@app.command("import")
def import_(
    source: Annotated[
        Path, typer.Argument(help="A Python file or a notebook with the prompts as string constants; it is not run.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    kind: Annotated[
        str, typer.Option(help="rubric (type, rubric or solution, eval, answer) or free (think, then answer).")
    ] = "rubric",
    user: Annotated[str | None, typer.Option(help="The constant with the question and both answers.")] = None,
    conversation: Annotated[str | None, typer.Option(help="The constant with two conversations.")] = None,
    system: Annotated[str | None, typer.Option(help="The constant that is the system message.")] = None,
) -> None:
    """Make a pack out of the string constants of a published judge, so that it gets the texts that it was trained on.

    Example: reasrm prompts import eval/prompts.py -o packs/rm-r1 --system SYSTEM_PROMPT
    """
    from reasrm.errors import InputError
    from reasrm.prompts import load_pack
    from reasrm.prompts.importing import import_pack

    if kind not in ("rubric", "free"):
        raise InputError(f"--kind is rubric or free, not {kind!r}", field="kind")
    chosen = import_pack(source, output, kind=kind, user=user, conversation=conversation, system=system)
    for file, name in chosen.items():
        sys.stdout.write(f"{file:<18} from {name}\n")
    sys.stdout.write(f"wrote {load_pack(output).digest} to {output}; look at it with: reasrm prompts show {output}\n")
