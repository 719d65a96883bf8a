"""The `[data]` and `[world]` tables of a recipe: the pairs that a run learns from and is measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from reasrm.datasets import winner_values_of
from reasrm.errors import InputError
from reasrm.types import Frozen
from reasrm_training.config.values import Count, Share

DropRule = Literal["magpie_ultra", "special_tokens", "equal_responses", "duplicate", "near_duplicate", "in_benchmark", "too_long"]


class Source(Frozen):
    """One preference data set of the mix."""

    path: str = Field(description="A file, a folder with a data set, or the id of a hub data set.")
    name: str = Field(default="", description="The name of the source in manifests. Empty: the last part of `path`.")
    split: str | None = Field(default=None, description="The split to read, if there are several.")
    config: str | None = Field(default=None, description="The configuration to read, if a hub data set has several.")
    data_dir: str | None = Field(
        default=None, description="The folder inside a hub data set. HelpSteer2 keeps its preferences in one."
    )
    schema_: str | None = Field(
        default=None, alias="schema", description="The published schema of the rows. None: it is recognised from the columns."
    )
    columns: dict[str, str] = Field(
        default={}, description="Known column name -> column of this source, for files that have no published schema."
    )
    winner_values: str | None = Field(
        default=None,
        description="What the numbers in the column `winner` mean, such as `a=1,b=2,tie=0`. None: 1 and 2 are a and b.",
    )
    sample: PositiveInt | None = Field(default=None, description="How many rows are drawn. None: all.")
    drop: tuple[DropRule, ...] = Field(
        default=(
            *("special_tokens", "equal_responses", "too_long"),
            *("duplicate", "near_duplicate", "in_benchmark"),
        ),
        description="The rules that drop rows of this source.",
    )

    @field_validator("winner_values")
    @classmethod
    def _values_have_meanings(cls, written: str | None) -> str | None:
        if written is not None:
            try:
                winner_values_of(written)
            except InputError as error:
                raise ValueError(str(error).replace("--winner-values", "winner_values")) from None
        return written

    @property
    def label(self) -> str:
        """The source's name in manifests and rows."""
        return self.name or Path(self.path).name


class Data(Frozen):
    """The mix of preference data that a run learns from and is measured on."""

    sources: tuple[Source, ...] = Field(min_length=1, description="The data sets of the mix.")
    distill: Count = Field(default=0, description="How many rows get a chain of reasoning, for SFT.")
    heldout: Count = Field(
        default=0, description="How many rows are kept for measurement and never trained on. RL learns from the rest."
    )
    max_prompt_tokens: PositiveInt = Field(
        default=4096, description="The longest rendered prompt, in the model's tokens. The rule `too_long` drops longer ones."
    )
    near_duplicate: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=0.8, description="The Jaccard similarity of 5-grams of words from which two rows count as near duplicates."
    )
    benchmarks: tuple[str, ...] = Field(
        default=(), description="Files or folders of benchmarks. The rule `in_benchmark` drops rows with their questions."
    )

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        labels = [source.label for source in self.sources]
        if twice := next((label for label in labels if labels.count(label) > 1), None):
            raise ValueError(f"two sources are called {twice!r}; give one of them a name")
        return self


class World(Frozen):
    """Generated tasks instead of a mix. `chains` tasks get a chain of reasoning, and `labels` tasks get only a label."""

    families: tuple[str, ...] = Field(default=(), description="The families of tasks. Empty: all.")
    chains: PositiveInt = Field(description="How many tasks get a chain of reasoning, for SFT.")
    chain_levels: tuple[int, ...] = Field(
        description="The levels of difficulty of these tasks, which take turns. A level may stand twice."
    )
    labels: PositiveInt = Field(description="How many tasks have a label only, for RL.")
    label_levels: tuple[int, ...] = Field(description="The levels of difficulty of these tasks.")
    heldout: PositiveInt = Field(default=1000, description="How many tasks are for measurement only.")
    heldout_levels: tuple[int, ...] = Field(description="The levels of difficulty of these tasks.")
    passes: Literal[0, 1, 2] = Field(
        default=2,
        description="Passes of the oracle. 2: a second pass corrects wrong chains. 1: wrong chains are dropped. 0: bare answers.",
    )
    slip: Share = Field(default=0.25, description="The share of first-pass chains in which the oracle is careless.")
