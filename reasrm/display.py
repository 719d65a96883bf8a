"""A judgment for the terminal. Texts of judges and responses are put in as plain `Text`: never as markup."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from reasrm.types import Judgment, NoVerdict, Opinion, Reading, Verdict

_MEANING = {
    "no_answer": "the reply ends without an answer",
    "both_answers": "the reply answers both A and B",
    "truncated": "the token limit came before the answer",
    "unclosed_think": "the judge never stopped thinking",
    "refused": "the judge declined",
    "empty": "the reply is empty",
    "split": "the votes or the two orders are even",
    "outside_domain": "this judge is not for such inputs",
    "too_long": "the pair does not fit the judge's context",
    "engine_failed": "the engine gave no reply",
    "deadline": "no reply in time",
}


def judgment_panel(judgment: Judgment, title: str = "judgment") -> Panel:
    """What the judge wrote, what it decided and what that cost."""
    parts: list[RenderableType] = []
    if judgment.opinions:
        parts.append(_reading(judgment.opinions[0]))
    parts.append(verdict_line(judgment))
    parts.append(_cost(judgment))
    return Panel(Group(*parts), title=Text(title), title_align="left", border_style="cyan" if judgment.winner else "yellow")


def verdict_line(judgment: Judgment) -> Text:
    """One line: the winner with its probability, or why there is none; and whether the two orders agree."""
    line = Text()
    outcome = judgment.outcome
    if isinstance(outcome, Verdict):
        share = outcome.probability_a if outcome.winner == "A" else 1.0 - outcome.probability_a
        line.append(f"{outcome.winner} is better", style="bold green")
        line.append(f"  {share:.1%} by {outcome.source}")
    else:
        line.append("no verdict", style="bold yellow")
        line.append(f"  {_why(outcome)}")
    agreement = {True: "both orders agree", False: "the two orders disagree", None: ""}[judgment.order_consistent]
    if agreement:
        line.append(f"  · {agreement}", style="" if judgment.order_consistent else "bold red")
    return line


def _why(outcome: NoVerdict) -> str:
    return f"{outcome.reason}: {_MEANING[outcome.reason]}" + (f" ({outcome.detail})" if outcome.detail else "")


def _reading(opinion: Opinion) -> Table:
    reading = opinion.reading
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _parts(reading):
        table.add_row(name, Text(text))
    if table.row_count == 0 and opinion.reply:
        table.add_row("reply", Text(opinion.reply))
    return table


def _parts(reading: Reading) -> list[tuple[str, str]]:
    parts = [("task", reading.task_type), ("thinking", reading.thinking)]
    if reading.rubric is not None:
        weighed = [f"{item.text} ({item.weight:.0%})" if item.weight is not None else item.text for item in reading.rubric.items]
        parts += [("rubric", "\n".join(weighed) or reading.rubric.text), ("because", reading.rubric.justification)]
    parts += [("solution", reading.solution), ("evaluation", reading.evaluation)]
    return [(name, text) for name, text in parts if text]


def _cost(judgment: Judgment) -> Text:
    usage = judgment.usage
    facts = [
        f"{judgment.seconds:.2f} s",
        f"{usage.prompt_tokens} + {usage.completion_tokens} tokens",
        *([f"{usage.cached_tokens} of them from the prefix cache"] if usage.cached_tokens else []),
        *(["cached"] if judgment.cached else []),
        *([f"model {judgment.model}"] if judgment.model else []),
        *([f"weights {judgment.weight_version}"] if judgment.weight_version else []),
        *([judgment.prompt_digest] if judgment.prompt_digest else []),
    ]
    return Text(" · ".join(facts), style="dim")
