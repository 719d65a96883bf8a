"""`reasrm rank`: several responses to one question, ordered, through a gateway or straight by an engine."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, Literal

import typer
from pydantic import Field

from reasrm.commands.judge import NO_VERDICT, PATIENCE_S, object_in, text_of
from reasrm.commands.score import tell
from reasrm.commands.settings import reasoning_field
from reasrm.errors import InputError
from reasrm.judge_address import JudgeAddress
from reasrm.judging.group import Group, MethodName, RankOptions
from reasrm.messages import Frozen
from reasrm.types import Ranking
from reasrm.wording import terminal_json

EXAMPLES = """Examples:

  reasrm rank "What is 17 + 25?" "42" "43" "It is 42, since 17 + 25 = 42."

  reasrm rank --url http://judge:8900 --json @question.txt @a.txt @b.txt @c.txt

  reasrm rank --file group.json --method pivot      ({"question": ..., "responses": [...], "reference": ...}; - for standard input)

  reasrm rank --engine http://sglang:30000 --budget 20 "..." "..." "..." "..."

A text that begins with @ names a file that holds the text."""

DEFAULTS = RankOptions()


class GroupSettings(Frozen):
    """The question and its responses, and how their ranking is printed."""

    question: str | None = Field(default=None, description="The question, or @FILE.", json_schema_extra={"argument": True})
    responses: tuple[str, ...] = Field(
        default=(), description="1 to 64 responses, or @FILEs.", json_schema_extra={"argument": True}
    )
    file: Path | None = Field(
        default=None,
        description="A JSON file with question, responses (and reference, rubric); - reads standard input.",
    )
    reference: str | None = Field(default=None, description="A reference answer (or @FILE): the zero of the rewards.")
    rubric: str | None = Field(default=None, description="Your own criteria (or @FILE), used instead of generated ones.")
    as_json: bool = Field(default=False, description="Print the ranking as JSON.", json_schema_extra={"flags": ["--json"]})

    def read(self) -> dict[str, Any]:
        """The fields of a `Group`. Raises `InputError`."""
        fields = object_in(self.file, ("question", "responses")) if self.file is not None else {}
        if self.file is None and (self.question is None or not self.responses):
            raise InputError("give QUESTION RESPONSE..., or --file FILE; see reasrm rank --help")
        if self.question is not None:
            responses = [text_of(response) for response in self.responses]
            for number, response in enumerate(responses, 1):
                if not response.strip():
                    raise InputError(f"response {number} is empty", field="responses")
            fields |= {"question": text_of(self.question), "responses": responses}
        given = (("reference", self.reference), ("rubric", self.rubric))
        return fields | {name: text_of(text) for name, text in given if text is not None}


class RankingSettings(Frozen):
    """How the group is ranked."""

    method: MethodName = Field(default=DEFAULTS.method, description="Which comparisons are made.")
    both_orders: bool = Field(default=False, description="Read each comparison in both orders.")
    budget: int | None = Field(default=None, ge=1, description="The most readings of a pair.")
    budget_tokens: int | None = Field(default=None, ge=1, description="The most tokens.")
    reasoning: Literal["on", "off"] | None = reasoning_field()
    raw: bool = Field(default=False, description="Rewards in logits instead of (-1, 1).")
    max_tokens: int | None = Field(
        default=None, ge=1, description="Longest reply in tokens.", json_schema_extra={"shown": f"{DEFAULTS.max_tokens}"}
    )

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of `RankOptions` that the flags set."""
        fields: dict[str, Any] = {
            "method": self.method,
            "orders": "both" if self.both_orders else "ab",
            "scale": "raw" if self.raw else "unit",
        }
        if self.budget or self.budget_tokens:
            fields["budget"] = {"comparisons": self.budget, "tokens": self.budget_tokens}
        fields |= {"reasoning": self.reasoning} if self.reasoning else {}
        return fields | ({"max_tokens": self.max_tokens} if self.max_tokens else {})


def rank(group: GroupSettings, ranking: RankingSettings, address: JudgeAddress) -> None:
    """Rank responses to one question: a reward for each, with its standard error."""
    fields = group.read()
    result = asyncio.run(_rank(fields, ranking.fields, address))
    if group.as_json:
        sys.stdout.write(terminal_json({"rewards": result.rewards} | result.model_dump(mode="json")) + "\n")
    else:
        from rich.console import Console

        from reasrm.display import ranking_table

        Console().print(ranking_table(result, fields["responses"]))
    if not result.order:
        raise typer.Exit(NO_VERDICT)


async def _rank(fields: dict[str, Any], options: dict[str, Any], address: JudgeAddress) -> Ranking:
    from reasrm.client import Judge, checked, encoded
    from reasrm.judging.ranking import rank as rank_group

    encoded(fields)  # refuse text that is not Unicode here: with --engine no gateway would
    group, how = checked(Group.model_validate, fields), checked(RankOptions.model_validate, options)
    if address.engine is None:
        async with Judge(address.url, token=address.token, timeout_s=address.timeout_s, ca_file=address.ca_file) as gateway:
            return await gateway.rank(**fields, **options)
    from reasrm.scoring import Limiter, PacedJudge, engine_judge

    async with engine_judge(address, Limiter(patience_s=PATIENCE_S)) as (judge, _):
        return await rank_group(group, how, PacedJudge(judge, tell=tell), reuse=judge.pack.reuse)
