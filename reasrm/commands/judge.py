"""`reasrm judge`: one pair from the command line, through a gateway or straight to an engine."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer

EPILOG = """Examples:

  reasrm judge "What is 17 + 25?" "42" "43"

  reasrm judge --url http://judge:8900 --json @question.txt @a.txt @b.txt

  reasrm judge --engine http://sglang:30000 --prompts free --votes 5 "..." "..." "..."

  reasrm judge --pair pair.json      (a file with "question", "a", "b", each a text or a list of messages; - for standard input)

A text that begins with @ names a file to read it from."""


def judge(
    question: Annotated[str | None, typer.Argument(help="The question, or @FILE.", show_default=False)] = None,
    a: Annotated[str | None, typer.Argument(help="Response A, or @FILE.", show_default=False)] = None,
    b: Annotated[str | None, typer.Argument(help="Response B, or @FILE.", show_default=False)] = None,
    pair: Annotated[Path | None, typer.Option(help="A JSON file with question, a, b (and rubric); - reads standard input.")] = None,
    rubric: Annotated[str | None, typer.Option(help="Your own criteria (or @FILE), used instead of generated ones.")] = None,
    url: Annotated[str, typer.Option(help="The gateway.", envvar="REASRM_URL")] = "http://127.0.0.1:8900",
    engine: Annotated[
        str | None, typer.Option(help="Judge by this engine directly, without a gateway: an http(s) address.")
    ] = None,
    prompts: Annotated[str, typer.Option(help="With --engine: the prompt pack, a name or a folder.")] = "rubric",
    token: Annotated[str | None, typer.Option(help="The gateway's API key.", envvar="REASRM_TOKEN")] = None,
    one_order: Annotated[bool, typer.Option("--one-order", help="Read the pair only as given, not both ways round.")] = False,
    votes: Annotated[int, typer.Option(help="Sample up to this many replies and take the majority.", min=1, max=64)] = 1,
    temperature: Annotated[
        float | None, typer.Option(help="0 is greedy; the default is 0, or 1 with --votes.", min=0, max=2)
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="Longest reply in tokens.", min=1)] = 2048,
    timeout: Annotated[float, typer.Option(help="Seconds to wait.", min=0.1)] = 300.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the judgment as JSON.")] = False,
) -> None:
    """Judge two responses to a question, and say why."""
    from reasrm.client import checked, encoded
    from reasrm.types import Options, Pair

    fields = _pair_fields(question, a, b, pair)
    if rubric is not None:
        fields["rubric"] = text_of(rubric)
    encoded(fields)  # what cannot be written is refused, also where no gateway is asked
    judged = checked(Pair, **fields)
    heat = temperature if temperature is not None else float(votes > 1)
    orders = "ab" if one_order else "both"
    options = checked(Options, orders=orders, votes=votes, temperature=heat, max_tokens=max_tokens)
    judgment = asyncio.run(_judge(judged, options, url, token, engine, prompts, timeout))
    if as_json:
        extra = {"winner": judgment.winner, "probability_a": judgment.probability_a, "order_consistent": judgment.order_consistent}
        sys.stdout.write(json.dumps(extra | judgment.model_dump(mode="json"), ensure_ascii=False, indent=2) + "\n")
    else:
        from rich.console import Console

        from reasrm.display import judgment_panel

        Console().print(judgment_panel(judgment))
    if judgment.winner is None:
        raise typer.Exit(3)


async def _judge(pair: Any, options: Any, url: str, token: str | None, engine: str | None, prompts: str, timeout_s: float) -> Any:
    if engine is None:
        from reasrm.client import Judge

        async with Judge(url, token=token, timeout_s=timeout_s) as gateway:
            return await gateway.judge(pair, options)
    from reasrm.engine import HttpEngine
    from reasrm.judging import EngineJudge
    from reasrm.prompts import fence_key, load_pack

    async with HttpEngine(engine, timeout_s=timeout_s) as completer:
        await completer.info()
        return await EngineJudge(completer, load_pack(prompts), fence_key()).judge(pair, options)


def _pair_fields(question: str | None, a: str | None, b: str | None, pair: Path | None) -> dict[str, Any]:
    from reasrm.errors import InputError

    if pair is not None:
        try:
            fields = json.loads(read(pair))
        except ValueError as error:
            raise InputError(f"{pair} is no JSON: {error}") from error
        if not isinstance(fields, dict):
            raise InputError(f'{pair} must hold an object with "question", "a" and "b"')
        return cast(dict[str, Any], fields)
    if question is None or a is None or b is None:
        raise InputError("give QUESTION A B, or --pair FILE; see reasrm judge --help")
    return {"question": text_of(question), "a": text_of(a), "b": text_of(b)}


def text_of(value: str) -> str:
    return read(Path(value[1:])) if value.startswith("@") else value


def read(path: Path) -> str:
    from reasrm.errors import InputError

    try:
        return sys.stdin.buffer.read().decode() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
