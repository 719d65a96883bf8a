"""`reasrm rank`: several responses to one question, ordered, through a gateway or straight by an engine."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer

EPILOG = """Examples:

  reasrm rank "What is 17 + 25?" "42" "43" "It is 42, since 17 + 25 = 42."

  reasrm rank --url http://judge:8900 --json @question.txt @a.txt @b.txt @c.txt

  reasrm rank --file group.json --method pivot      ({"question": ..., "responses": [...], "reference": ...}; - for standard input)

  reasrm rank --engine http://sglang:30000 --budget 20 "..." "..." "..." "..."

A text that begins with @ names a file to read it from."""


def rank(
    question: Annotated[str | None, typer.Argument(help="The question, or @FILE.", show_default=False)] = None,
    responses: Annotated[list[str] | None, typer.Argument(help="1 to 64 responses, or @FILEs.", show_default=False)] = None,
    file: Annotated[Path | None, typer.Option(help="A JSON file with question, responses (and reference, rubric).")] = None,
    reference: Annotated[str | None, typer.Option(help="A reference answer (or @FILE): the zero of the rewards.")] = None,
    rubric: Annotated[str | None, typer.Option(help="Your own criteria (or @FILE).")] = None,
    method: Annotated[str, typer.Option(help="all_pairs, circle, pivot, swiss or knockout.")] = "swiss",
    both_orders: Annotated[bool, typer.Option("--both-orders", help="Read each comparison both ways round.")] = False,
    budget: Annotated[int | None, typer.Option(help="The most readings of a pair.", min=1)] = None,
    budget_tokens: Annotated[int | None, typer.Option(help="The most tokens.", min=1)] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Rewards in logits instead of (-1, 1).")] = False,
    url: Annotated[str, typer.Option(help="The gateway.", envvar="REASRM_URL")] = "http://127.0.0.1:8900",
    engine: Annotated[str | None, typer.Option(help="Judge by this engine directly: an http(s) address.")] = None,
    prompts: Annotated[str, typer.Option(help="With --engine: the prompt pack, a name or a folder.")] = "rubric",
    token: Annotated[str | None, typer.Option(help="The gateway's API key.", envvar="REASRM_TOKEN")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest reply in tokens.", min=1)] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait.", min=0.1)] = 300.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ranking as JSON.")] = False,
) -> None:
    """Rank responses to one question: a reward for each, with its standard error."""
    from reasrm.commands.judge import text_of
    from reasrm.errors import InputError

    fields = _from_file(file) if file is not None else {}
    if file is None and (question is None or not responses):
        raise InputError("give QUESTION RESPONSE..., or --file FILE; see reasrm rank --help")
    if question is not None:
        fields |= {"question": text_of(question), "responses": [text_of(each) for each in responses or ()]}
    fields |= {name: text_of(text) for name, text in (("reference", reference), ("rubric", rubric)) if text is not None}
    options: dict[str, Any] = {"method": method, "orders": "both" if both_orders else "ab", "scale": "raw" if raw else "unit"}
    if budget or budget_tokens:
        options["budget"] = {"comparisons": budget, "tokens": budget_tokens}
    if max_tokens:
        options["max_tokens"] = max_tokens
    ranking = asyncio.run(_rank(fields, options, url, token, engine, prompts, timeout))
    if as_json:
        sys.stdout.write(json.dumps({"rewards": ranking.rewards} | ranking.model_dump(mode="json"), indent=2) + "\n")
    else:
        _show(ranking, fields["responses"])
    if not ranking.order:
        raise typer.Exit(3)


async def _rank(
    fields: dict[str, Any], options: dict[str, Any], url: str, token: str | None, engine: str | None, prompts: str, timeout_s: float
) -> Any:
    from reasrm.client import Judge, checked, encoded
    from reasrm.judging.group import Group, RankOptions

    encoded(fields)  # what cannot be written is refused, also where no gateway is asked
    group, how = checked(Group.model_validate, fields), checked(RankOptions.model_validate, options)
    if engine is None:
        async with Judge(url, token=token, timeout_s=timeout_s) as gateway:
            return await gateway.rank(**fields, **options)
    from reasrm.engine import HttpEngine
    from reasrm.judging import EngineJudge
    from reasrm.judging.ranking import rank as rank_group
    from reasrm.prompts import fence_key, load_pack

    pack = load_pack(prompts)
    async with HttpEngine(engine, timeout_s=timeout_s) as completer:
        await completer.info()
        deadline = asyncio.get_running_loop().time() + timeout_s
        return await rank_group(group, how, EngineJudge(completer, pack, fence_key()), reuse=pack.reuse, deadline=deadline)


def _from_file(path: Path) -> dict[str, Any]:
    from reasrm.commands.judge import read
    from reasrm.errors import InputError

    try:
        fields = json.loads(read(path))
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}") from error
    if not isinstance(fields, dict) or not {"question", "responses"} <= set(cast(dict[str, Any], fields)):
        raise InputError(f'{path} must hold an object with "question" and "responses"')
    return cast(dict[str, Any], fields)


def _show(ranking: Any, responses: list[Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("place", "reward", "± s.e.", "compared", "response"):
        table.add_column(name, justify="left" if name == "response" else "right", overflow="ellipsis", no_wrap=True)
    places = {index: str(place) for place, index in enumerate(ranking.order, start=1)}
    for index in (*ranking.order, *(each.index for each in ranking.standings if each.reward is None)):
        standing = ranking.standings[index]
        judged = standing.reward is not None
        text = responses[index] if isinstance(responses[index], str) else json.dumps(responses[index], ensure_ascii=False)
        table.add_row(
            places.get(index, "-"),
            f"{standing.reward:+.3f}" if judged else "none",
            f"{standing.stderr:.3f}" if judged else "",
            str(standing.comparisons) + (f" (as {standing.duplicate_of + 1})" if standing.duplicate_of is not None else ""),
            Text(" ".join(text.split())),
        )
    console = Console()
    console.print(table)
    usage = ranking.usage
    console.print(
        Text(
            f"{ranking.method}: {len(ranking.comparisons)} comparisons · {usage.prompt_tokens} + {usage.completion_tokens} tokens"
            f" · {ranking.seconds:.2f} s",
            style="dim",
        )
    )
