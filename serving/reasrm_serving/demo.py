"""`python -m reasrm_serving.demo [MODEL]`: the embedded judge at work, over HTTP, on pairs whose better side is known.

MODEL is the folder of another judge of the same world, as `reasrm train run tiny` exports it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from pydantic import TypeAdapter
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from reasrm.client import SyncJudge
from reasrm.display import judgment_panel, verdict_line
from reasrm.errors import ReasrmError
from reasrm.types import Frozen, Judgment, Options, Pair, Side
from reasrm_serving.main import running
from reasrm_serving.settings import Settings

PAIRS = Path(__file__).with_name("demo_pairs.json")
OUTSIDE = Pair.of("Who wrote the Odyssey?", "Homer, so it is said.", "Nobody knows anything about it.")


class DemoPair(Frozen):
    """A pair out of the world that the embedded judge was made for; `better` is computed, not judged."""

    family: str
    question: str
    a: str
    b: str
    better: Side

    @property
    def pair(self) -> Pair:
        """The pair without its known answer."""
        return Pair.of(self.question, self.a, self.b)


def main(model: str | None = None) -> None:
    """Start a gateway on a free port, judge a handful of pairs of each family, print them, and stop it."""
    console = Console()
    pairs = TypeAdapter(tuple[DemoPair, ...]).validate_json(PAIRS.read_bytes())
    try:
        with ExitStack() as stack:
            with console.status("loading the embedded judge"):
                url = stack.enter_context(running(Settings(port=0, model=model)))
            judge = stack.enter_context(SyncJudge(url))
            _show(console, judge, pairs, url)
    except ReasrmError as error:
        sys.stderr.write(f"demo: {error}\n")
        sys.exit(1)


def _show(console: Console, judge: SyncJudge, pairs: Sequence[DemoPair], url: str) -> None:
    (model,) = judge.models()
    console.rule(Text(f"the embedded judge, {model['id']}"))
    console.print(Text(f"gateway {url} · weights {model['weight_version']} · prompts {model['prompt_digest']}", style="dim"))
    judged: list[tuple[DemoPair, Judgment, float]] = []
    for number, pair in enumerate(pairs, 1):
        with console.status(Text(f"judging {number} of {len(pairs)}: {pair.family}")):
            judgment, seconds = _timed(judge, pair.pair)
        judged.append((pair, judgment, seconds))
        console.print(_panel(pair, judgment, seconds))
    outside, _ = _timed(judge, OUTSIDE)
    console.print(Panel(Group(Text(OUTSIDE.question[0].content), verdict_line(outside)), title="anything else", title_align="left"))
    console.print(_summary(judged, _timed(judge, pairs[0].pair)))


def _timed(judge: SyncJudge, pair: Pair) -> tuple[Judgment, float]:
    started = time.perf_counter()
    judgment = judge.judge(pair, Options())
    return judgment, time.perf_counter() - started


def _panel(pair: DemoPair, judgment: Judgment, seconds: float) -> Panel:
    inputs = Table.grid(padding=(0, 2))
    inputs.add_column(style="bold", no_wrap=True)
    inputs.add_column(overflow="fold")
    for name, text in (("question", pair.question), ("A", pair.a), ("B", pair.b)):
        inputs.add_row(name, Text(text))
    right = judgment.winner == pair.better
    outcome = "right" if right else "WRONG"
    truth = Text(f"{outcome}: {pair.better} is better, as a program computed", style="green" if right else "bold red")
    parts = Group(inputs, judgment_panel(judgment), truth)
    return Panel(parts, title=Text(f"{pair.family} · {seconds:.2f} s"), title_align="left", border_style="dim")


def _summary(judged: Sequence[tuple[DemoPair, Judgment, float]], again: tuple[Judgment, float]) -> Table:
    table = Table(title="embedded judge: made for these tasks, and for nothing else", title_justify="left")
    for column in ("family", "pairs", "right", "both orders agree", "seconds a pair"):
        table.add_column(column, justify="left" if column == "family" else "right")
    for family in dict.fromkeys(pair.family for pair, _, _ in judged):
        rows = [row for row in judged if row[0].family == family]
        right = sum(judgment.winner == pair.better for pair, judgment, _ in rows)
        agree = sum(judgment.order_consistent is True for _, judgment, _ in rows)
        took = sum(seconds for _, _, seconds in rows) / len(rows)
        table.add_row(family, str(len(rows)), str(right), str(agree), f"{took:.2f}")
    judgment, seconds = again
    table.caption = f"the first pair again: {seconds * 1000:.1f} ms, {'cached' if judgment.cached else 'not cached'}"
    return table


if __name__ == "__main__":
    main(*sys.argv[1:2])
