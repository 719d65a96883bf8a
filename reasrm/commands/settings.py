"""Settings that several commands share: how to judge, which data to read, and how a job runs."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from reasrm.messages import Frozen
from reasrm.types import Options

if TYPE_CHECKING:
    from reasrm.datasets import DataSet

DEFAULTS = Options()


def reasoning_field() -> Literal["on", "off"] | None:
    """The field `reasoning` of every command that judges."""
    return Field(
        default=None,
        description="off reads the verdict without any reasoning, by one token per order.",
        json_schema_extra={"shown": "as the prompt pack says"},
    )


class JudgingSettings(Frozen):
    """How one pair is judged."""

    one_order: bool = Field(default=False, description="Read each pair in one order only, instead of in both.")
    votes: int = Field(default=DEFAULTS.votes, ge=1, le=64, description="Sample this many replies and count them.")
    temperature: float | None = Field(
        default=None,
        ge=0,
        le=2,
        description="Temperature of the replies; 0 is greedy.",
        json_schema_extra={"shown": "0, or 1 with --votes"},
    )
    max_tokens: int = Field(default=DEFAULTS.max_tokens, ge=1, description="Longest reply in tokens.")
    seed: int = Field(default=DEFAULTS.seed, ge=0, description="Seed of sampled replies.")
    reasoning: Literal["on", "off"] | None = reasoning_field()
    forced: bool = Field(default=DEFAULTS.forced, description="Get an answer from replies that end without one.")

    @property
    def options(self) -> Options:
        """The same as the library's `Options`. Raises `InputError` where they contradict each other."""
        from reasrm.client import checked

        temperature = self.temperature if self.temperature is not None else float(self.votes > 1)
        orders = "ab" if self.one_order else "both"
        return checked(
            Options,
            orders=orders,
            votes=self.votes,
            temperature=temperature,
            max_tokens=self.max_tokens,
            seed=self.seed,
            reasoning=self.reasoning,
            forced=self.forced,
        )


class GreedySettings(Frozen):
    """How one pair is judged by commands that always read both orders greedily."""

    max_tokens: int = Field(default=DEFAULTS.max_tokens, ge=1, description="Longest reply in tokens.")
    reasoning: Literal["on", "off"] | None = reasoning_field()

    @property
    def options(self) -> Options:
        """The same as the library's `Options`."""
        return Options(max_tokens=self.max_tokens, reasoning=self.reasoning)


class DataSettings(Frozen):
    """Which rows a command reads."""

    source: str = Field(
        description="The data: a file, a folder, a hub id, or - for JSON lines from standard input.",
        json_schema_extra={"argument": True},
    )
    schema_name: str | None = Field(
        default=None, description="The schema, where the columns leave a choice.", json_schema_extra={"flags": ["--schema"]}
    )
    mapping: str | None = Field(
        default=None,
        description="Columns by the names that schemas know: chosen=good,rejected=bad.",
        json_schema_extra={"flags": ["--map"]},
    )
    split: str | None = Field(default=None, description="The split of a data set that has several.")
    winner_values: str | None = Field(
        default=None, description="What the values of the column winner mean, where they are numbers: a=1,b=2,tie=0."
    )

    @contextmanager
    def data(self) -> Generator[DataSet]:
        """The data set. Standard input is copied to a file first, as data is read more than once."""
        from reasrm.datasets import DataSet, mapping_of, winner_values_of

        mapping = mapping_of(self.mapping) if self.mapping else None
        winners = winner_values_of(self.winner_values) if self.winner_values else None
        if self.source != "-":
            yield DataSet(self.source, self.schema_name, mapping, self.split, winners=winners)
            return
        with tempfile.TemporaryDirectory(prefix="reasrm-") as folder:
            copy = Path(folder) / "stdin.jsonl"
            with copy.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
            yield DataSet(folder, self.schema_name, mapping, self.split, winners=winners)


class JobSettings(Frozen):
    """How a job of many judgments runs."""

    concurrency: int | None = Field(
        default=None, ge=1, le=1024, description="Requests in flight; by default the limit is found by measuring."
    )
    restart: bool = Field(default=False, description="Start over: drop what an earlier run finished, and replace the output.")


def report_field() -> Path | None:
    """The field `report` of commands that can write one."""
    return Field(default=None, description="Write a self-contained HTML report to this file.")
