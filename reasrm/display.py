"""A judgment and a ranking for the terminal.

Texts of judges and responses are shown as plain text: without markup, with control characters made visible.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from reasrm.types import Judgment, NoVerdict, Opinion, Ranking, Reading, Standing, Verdict
from reasrm.wording import plain, sure

_MEANING = {
    "no_answer": "the reply ends without an answer",
    "both_answers": "the reply answers both A and B",
    "truncated": "the token limit came before the answer",
    "unclosed_think": "the judge never stopped thinking",
    "refused": "the judge declined",
    "empty": "the reply is empty",
    "split": "the votes or the two orders are even, or nearly so while they contradict each other",
    "outside_domain": "this judge was not made for such inputs",
    "too_long": "the pair does not fit the judge's context window",
    "engine_failed": "the engine gave no reply",
    "refused_by_engine": "the engine refused the request",
    "deadline": "no reply in time",
}


def judgment_panel(judgment: Judgment, title: str = "judgment") -> Panel:
    """The judge's texts, its decision and the cost."""
    parts: list[RenderableType] = []
    if judgment.opinions:
        parts.append(_reading(judgment.opinions[0]))
    parts.append(verdict_line(judgment))
    parts.append(_cost(judgment))
    return Panel(Group(*parts), title=Text(plain(title)), title_align="left", border_style="cyan" if judgment.winner else "yellow")


def verdict_line(judgment: Judgment) -> Text:
    """One line: the winner with its probability, or why there is none; and whether the two orders agree."""
    line = Text()
    outcome = judgment.outcome
    if isinstance(outcome, Verdict):
        line.append(f"{outcome.winner} is better", style="bold green")
        source = "forced, since a reply has no answer" if outcome.source == "forced" else f"by {outcome.source}"
        line.append(f"  {sure(outcome.probability_a)} {source}")
    else:
        line.append("no verdict", style="bold yellow")
        line.append(f"  {why(outcome)}")
    agreement = {True: "both orders agree", False: "the two orders disagree", None: ""}[judgment.order_consistent]
    if agreement:
        line.append(f"  · {agreement}", style="" if judgment.order_consistent else "bold red")
    return line


def why(outcome: NoVerdict) -> str:
    """The reason for no verdict in words, with its detail."""
    meaning = _MEANING.get(outcome.reason)
    return plain(outcome.reason + (f": {meaning}" if meaning else "") + (f" ({outcome.detail})" if outcome.detail else ""))


def ranking_table(ranking: Ranking, responses: Sequence[Any]) -> RenderableType:
    """The responses from best to worst, each with its reward; then why some have none, and what the ranking cost.

    `responses` are texts or lists of messages, in the order in which they were given. Responses of equal reward share a place.
    """
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name, width in (("place", 5), ("reward", 6), ("± s.e.", 6), ("compared", 8)):
        table.add_column(name, justify="right", no_wrap=True, min_width=width)
    table.add_column("response", overflow="ellipsis", no_wrap=True)
    unranked = tuple(standing.index for standing in ranking.standings if standing.reward is None)
    for index in (*ranking.order, *unranked):
        standing = ranking.standings[index]
        response = responses[index]
        text = response if isinstance(response, str) else json.dumps(response, ensure_ascii=False)
        table.add_row(
            "-" if standing.place is None else str(standing.place),
            "none" if standing.reward is None else f"{standing.reward:+.3f}",
            "" if standing.stderr is None else f"{standing.stderr:.3f}",
            str(standing.comparisons) + ("" if standing.duplicate_of is None else f" (as {standing.duplicate_of + 1})"),
            Text(plain(" ".join(text.split()))),
        )
    notes = [Text(f"response {index + 1} has no reward: {_no_reward(ranking, ranking.standings[index])}") for index in unranked]
    usage = ranking.usage
    cost = (
        f"{ranking.method}: {len(ranking.comparisons)} comparisons · {usage.prompt_tokens} + {usage.completion_tokens} tokens"
        f" · {ranking.seconds:.2f} s"
    )
    return Group(table, *notes, Text(cost, style="dim"))


def _no_reward(ranking: Ranking, standing: Standing) -> str:
    """Why a response has no reward: the reasons of its comparisons, the most frequent one first."""
    index = standing.index if standing.duplicate_of is None else standing.duplicate_of
    outcomes = [comparison.judgment.outcome for comparison in ranking.comparisons if index in (comparison.i, comparison.j)]
    reasons = Counter(outcome.reason for outcome in outcomes if isinstance(outcome, NoVerdict))
    if not reasons:
        return "it was not compared within the budget or the time"
    examples = {outcome.reason: outcome for outcome in reversed(outcomes) if isinstance(outcome, NoVerdict)}
    return "; ".join(f"{why(examples[reason])}, {count} of {len(outcomes)} comparisons" for reason, count in reasons.most_common())


def _reading(opinion: Opinion) -> Table:
    reading = opinion.reading
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _parts(reading):
        table.add_row(name, Text(plain(text)))
    if table.row_count == 0 and opinion.reply:
        table.add_row("reply", Text(plain(opinion.reply)))
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
    return Text(plain(" · ".join(facts)), style="dim")
