"""`python -m reasrm_serving.demo [MODEL] [--engine URL]`: a judge at work, over HTTP, on pairs whose better side is known.

Without arguments it is the judge that comes with the package, on the tasks that it was made for. MODEL is another such judge's
folder (from `reasrm train run tiny`, with `reasrm train gguf`), or any model that the gateway can start (`reasrm serve --launch`),
which judges real questions. With --engine, the model of a running engine judges them, and MODEL is its name there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from reasrm.client import SyncJudge
from reasrm.display import judgment_panel, verdict_line
from reasrm.errors import ReasrmError
from reasrm.types import Frozen, Judgment, Message, Options, Pair, Side
from reasrm.wording import plain
from reasrm_serving.main import running
from reasrm_serving.settings import Settings

PAIRS = Path(__file__).with_name("demo_pairs.json")
QUESTIONS = Path(__file__).parent / "static" / "examples_general.json"
OUTSIDE = Pair.of("Who wrote the Odyssey?", "Homer, so it is said.", "Nobody knows anything about it.")
RECIPE = "recipe.json"  # in the folder of every judge that reasrm trained
TIMEOUT_S = 1800.0  # seconds for a judgment: models of some billion parameters need minutes on a laptop
NEXT = """This judge was made for these tasks, and for nothing else. To judge real questions, put a real model behind the gateway:
  make demo MODEL=FILE.gguf          real questions, and which verdicts are right
  reasrm serve --launch FILE.gguf    your own questions, in the browser
FILE.gguf may be a hub id (Qwen/Qwen2.5-7B-Instruct-GGUF). ENGINE=URL and --engine URL take a running engine."""


class DemoPair(Frozen):
    """A pair whose better side is known, and `why` it is better."""

    name: str
    pair: Pair
    better: Side
    why: str


def main(model: str | None = None, engine: str | None = None) -> None:
    """Start a gateway on a free port, judge the pairs that suit its judge, print them, and stop it."""
    console = Console()
    judge: dict[str, Any] = {}
    if engine:
        judge = {"engine": engine, "model": model}
    elif model:
        judge = {"model" if (Path(model) / RECIPE).is_file() else "launch": model}
    try:
        with ExitStack() as stack:
            with console.status("loading the judge"):
                url = stack.enter_context(running(Settings.of(port=0, timeout_s=TIMEOUT_S, **judge)))
            _show(console, stack.enter_context(SyncJudge(url, timeout_s=TIMEOUT_S)), url)
    except ReasrmError as error:
        sys.stderr.write(f"demo: {plain(str(error))}\n")
        sys.exit(1)


def _show(console: Console, judge: SyncJudge, url: str) -> None:
    (model,) = judge.models()
    world = str(model["prompt_digest"]).startswith("world@")
    pairs = _world_pairs() if world else _real_pairs()
    console.rule(Text(plain(f"{'the embedded judge' if world else 'the judge'}, {model['id']}")))
    console.print(Text(f"gateway {url} · weights {model['weight_version']} · prompts {model['prompt_digest']}", style="dim"))
    judged: list[tuple[DemoPair, Judgment, float]] = []
    for number, pair in enumerate(pairs, 1):
        with console.status(Text(f"judging {number} of {len(pairs)}: {pair.name}")):
            judgment, seconds = _timed(judge, pair.pair)
        judged.append((pair, judgment, seconds))
        console.print(_panel(pair, judgment, seconds))
        if number == 1 and not world:
            rest = len(pairs) - 1
            console.print(f"The first judgment took {seconds:.0f} s; the other {rest} take about {_duration(seconds * rest)}.")
    if world:
        outside, _ = _timed(judge, OUTSIDE)
        parts = Group(Text(OUTSIDE.question[0].content), verdict_line(outside))
        console.print(Panel(parts, title="anything else", title_align="left"))
    console.print(_summary(judged, _timed(judge, pairs[0].pair)))
    if world:
        console.print(Text(NEXT))


def _world_pairs() -> Sequence[DemoPair]:
    """Pairs of the generated world; a program computed which side is better."""
    return [
        DemoPair(
            name=row["family"], pair=Pair.of(row["question"], row["a"], row["b"]), better=row["better"], why="as a program computed"
        )
        for row in json.loads(PAIRS.read_bytes())
    ]


def _real_pairs() -> Sequence[DemoPair]:
    """The pairs among the examples of the page."""
    return [
        DemoPair(name=row["name"], pair=Pair.model_validate(row["request"]), better=row["better"], why=row["why"])
        for row in json.loads(QUESTIONS.read_bytes())
        if "better" in row
    ]


def _timed(judge: SyncJudge, pair: Pair) -> tuple[Judgment, float]:
    started = time.perf_counter()
    judgment = judge.judge(pair, Options())
    return judgment, time.perf_counter() - started


def _panel(pair: DemoPair, judgment: Judgment, seconds: float) -> Panel:
    inputs = Table.grid(padding=(0, 2))
    inputs.add_column(style="bold", no_wrap=True)
    inputs.add_column(overflow="fold")
    for name, messages in (("question", pair.pair.question), ("A", pair.pair.a), ("B", pair.pair.b)):
        inputs.add_row(name, Text(_text(messages)))
    right = judgment.winner == pair.better
    outcome = "right" if right else "WRONG" if judgment.winner else "no verdict"
    truth = Text(f"{outcome}: {pair.better} is better, {pair.why}", style="green" if right else "bold red")
    parts = Group(inputs, judgment_panel(judgment), truth)
    return Panel(parts, title=Text(f"{pair.name} · {seconds:.2f} s"), title_align="left", border_style="dim")


def _text(messages: Sequence[Message]) -> str:
    """A single turn as it is; several with their roles."""
    if len(messages) == 1:
        return messages[0].content
    return "\n".join(
        line
        for message in messages
        for line in (
            *(f"[{message.role} calls {call.name}({call.arguments})]" for call in message.tool_calls),
            *([f"[{message.role}] {message.content}"] if message.content else []),
        )
    )


def _summary(judged: Sequence[tuple[DemoPair, Judgment, float]], again: tuple[Judgment, float]) -> Table:
    table = Table(title="right or wrong, by kind of question", title_justify="left")
    for column in ("kind", "pairs", "right", "both orders agree", "seconds a pair"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    kinds = list(dict.fromkeys(pair.name for pair, _, _ in judged))
    for kind in (*kinds, "all"):
        rows = [row for row in judged if kind in (row[0].name, "all")]
        right = sum(judgment.winner == pair.better for pair, judgment, _ in rows)
        agree = sum(judgment.order_consistent is True for _, judgment, _ in rows)
        took = sum(seconds for _, _, seconds in rows) / len(rows)
        table.add_row(kind, str(len(rows)), str(right), str(agree), f"{took:.2f}", end_section=kind == kinds[-1])
    judgment, seconds = again
    table.caption = f"the first pair again: {seconds * 1000:.1f} ms, {'cached' if judgment.cached else 'not cached'}"
    return table


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m reasrm_serving.demo", description="A judge at work, on pairs with known answers."
    )
    parser.add_argument("model", nargs="?", help="a GGUF file, a hub id or a folder; with --engine, the model's name there")
    parser.add_argument("--engine", metavar="URL", help="the address of a running engine")
    main(**vars(parser.parse_args()))
