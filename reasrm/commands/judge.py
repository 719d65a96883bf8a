"""`reasrm judge`: one pair from the command line, through a gateway or straight to an engine."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, cast

import typer
from pydantic import Field

from reasrm.commands.settings import JudgingSettings
from reasrm.errors import InputError
from reasrm.judge_address import JudgeAddress
from reasrm.messages import Frozen
from reasrm.types import Judgment, Options, Pair
from reasrm.wording import terminal_json

EXAMPLES = """Examples:

  reasrm judge "What is 17 + 25?" "42" "43"

  reasrm judge --url http://judge:8900 --json @question.txt @a.txt @b.txt

  reasrm judge --engine http://sglang:30000 --prompts free --votes 5 "..." "..." "..."

  reasrm judge --pair pair.json      (a file with "question", "a", "b", each a text or a list of messages; - for standard input)

A text that begins with @ names a file that holds the text."""

NO_VERDICT = 3  # the exit code
PATIENCE_S = 30.0  # for an engine that is away, while a person waits


class PairSettings(Frozen):
    """The pair, and how its judgment is printed."""

    question: str | None = Field(default=None, description="The question, or @FILE.", json_schema_extra={"argument": True})
    a: str | None = Field(default=None, description="Response A, or @FILE.", json_schema_extra={"argument": True})
    b: str | None = Field(default=None, description="Response B, or @FILE.", json_schema_extra={"argument": True})
    pair: Path | None = Field(default=None, description="A JSON file with question, a, b (and rubric); - reads standard input.")
    rubric: str | None = Field(default=None, description="Your own criteria (or @FILE), used instead of generated ones.")
    as_json: bool = Field(default=False, description="Print the judgment as JSON.", json_schema_extra={"flags": ["--json"]})

    def read(self) -> Pair:
        """The pair itself. Raises `InputError`."""
        from reasrm.client import checked, encoded

        fields = self._fields()
        if self.rubric is not None:
            fields["rubric"] = text_of(self.rubric)
        for name, side in (("a", "A"), ("b", "B"), ("question", "")):
            if isinstance(fields.get(name), str) and not fields[name].strip():
                raise InputError(f"response {side} is empty" if side else "the question is empty", field=name)
        encoded(fields)  # refuse text that is not Unicode here: with --engine no gateway would
        return checked(Pair, **fields)

    def _fields(self) -> dict[str, Any]:
        if self.pair is not None:
            return object_in(self.pair, ("question", "a", "b"))
        if self.question is None or self.a is None or self.b is None:
            raise InputError("give QUESTION A B, or --pair FILE; see reasrm judge --help")
        return {"question": text_of(self.question), "a": text_of(self.a), "b": text_of(self.b)}


def judge(pair: PairSettings, judging: JudgingSettings, address: JudgeAddress) -> None:
    """Judge two responses to a question, and say why."""
    judgment = asyncio.run(_judge(pair.read(), judging.options, address))
    if pair.as_json:
        derived = {
            "winner": judgment.winner,
            "probability_a": judgment.probability_a,
            "order_consistent": judgment.order_consistent,
        }
        sys.stdout.write(terminal_json(derived | judgment.model_dump(mode="json")) + "\n")
    else:
        from rich.console import Console

        from reasrm.display import judgment_panel

        Console().print(judgment_panel(judgment))
    if judgment.winner is None:
        raise typer.Exit(NO_VERDICT)


async def _judge(pair: Pair, options: Options, address: JudgeAddress) -> Judgment:
    if address.engine is not None:
        from reasrm.scoring import Limiter, engine_judge

        async with engine_judge(address, Limiter(patience_s=PATIENCE_S)) as (judge, _):
            return await judge.judge(pair, options)
    from reasrm.client import Judge
    from reasrm.errors import GatewayUnreachable, ReasrmError
    from reasrm.failures import failed_judgment

    async with Judge(address.url, token=address.token, timeout_s=address.timeout_s, ca_file=address.ca_file) as gateway:
        try:
            return await gateway.judge_or_raise(pair, options)
        except GatewayUnreachable:  # a person at a terminal should read that the gateway does not run
            raise
        except ReasrmError as error:
            return failed_judgment(error)


def object_in(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """The JSON object in a file, which must hold `names`. Raises `InputError`."""
    try:
        fields = json.loads(read(path))
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(fields, dict) or not set(names) <= set(cast(dict[str, Any], fields)):
        listed = ", ".join(f'"{name}"' for name in names)
        raise InputError(f"{path} must hold an object with {listed}")
    return cast(dict[str, Any], fields)


def text_of(value: str) -> str:
    """The text itself, or that of the file that @ names. Raises `InputError`."""
    return read(Path(value[1:])) if value.startswith("@") else value


def read(path: Path) -> str:
    """The text of a file, or of standard input for -. Raises `InputError`."""
    try:
        return sys.stdin.buffer.read().decode() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
