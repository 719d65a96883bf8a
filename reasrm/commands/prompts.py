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
    rows = [
        {"name": pack.name, "kind": pack.kind, "digest": pack.digest, "reuse": pack.reuse, "reasoning": pack.reasoning}
        for pack in packs
    ]
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    for row in rows:
        note = "reuses deliberations" if row["reuse"] else "" if row["reasoning"] else "no reasoning"
        sys.stdout.write(f"{row['digest']:<24} {row['kind']:<8} {note}\n")


@app.command("published")
def list_published(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Judges that others have published, with the form of their replies and the pack that fits."""
    from reasrm.prompts.published import published_judges

    if as_json:
        sys.stdout.write(json.dumps([judge.model_dump(mode="json") for judge in published_judges()], indent=2) + "\n")
        return
    for judge in published_judges():
        sys.stdout.write(f"{judge.name:<36} {judge.hub:<44} {judge.kind:<8} {judge.sglang}\n")


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


@app.command(
    "import",
    epilog="""Examples:

  reasrm prompts import rm-r1-qwen2.5-instruct-32b --from RM-R1/demo/demo.ipynb

  reasrm prompts import eval/prompts.py -o packs/mine --system SYSTEM_PROMPT""",
)
def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="A Python file or a notebook with the prompts as string constants; it is not run. "
            "Or the name of a published judge, and its authors' file in --from.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder to write; packs/NAME for a published judge.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--from", help="The file of a published judge's authors.", show_default=False)
    ] = None,
    kind: Annotated[
        str, typer.Option(help="rubric (type, rubric or solution, eval, answer) or free (think, then answer).")
    ] = "rubric",
    user: Annotated[str | None, typer.Option(help="The constant with the question and both answers.")] = None,
    conversation: Annotated[str | None, typer.Option(help="The constant with two conversations.")] = None,
    system: Annotated[str | None, typer.Option(help="The constant that is the system message.")] = None,
) -> None:
    """Make a pack out of the string constants of a published judge, so that it gets the texts that it was trained on."""
    from reasrm.errors import InputError
    from reasrm.prompts import load_pack
    from reasrm.prompts.importing import import_pack
    from reasrm.prompts.published import import_published, published

    judge = published(source) if not Path(source).exists() or file else None
    if file:
        output = output or Path("packs") / (judge.name if judge else source)
        chosen = import_published(source, file, output)
    elif judge:
        where = " or ".join(judge.files)
        raise InputError(f"{judge.name}: give its authors' file with --from; its prompts stand in {where} of {judge.repository}")
    elif kind not in ("rubric", "free"):
        raise InputError(f"--kind is rubric or free, not {kind!r}", field="kind")
    elif output is None:
        raise InputError("give the folder to write with -o", field="output")
    else:
        chosen = import_pack(Path(source), output, kind=kind, user=user, conversation=conversation, system=system)
    for name, constant in chosen.items():
        sys.stdout.write(f"{name:<18} from {constant}\n")
    sys.stdout.write(f"wrote {load_pack(output).digest} to {output}; look at it with: reasrm prompts show {output}\n")
