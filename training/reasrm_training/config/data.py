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
    """One preference data set: a file, a data set folder or a hub id. `sample` rows are drawn from it; None takes all."""

    path: str
    name: str = ""  # in manifests; empty: the last part of the path
    split: str | None = None  # where there are several
    config: str | None = None  # of a hub data set that has several
    data_dir: str | None = None  # the folder inside a hub data set; HelpSteer2 keeps its preferences in one
    schema_: str | None = Field(default=None, alias="schema")  # None: recognised from the columns
    columns: dict[str, str] = Field(default={})  # known name -> column here, for files of no published schema
    winner_values: str | None = None  # what the values of the column winner mean, where they are numbers: "a=1,b=2,tie=0"
    sample: PositiveInt | None = None
    drop: tuple[DropRule, ...] = (
        *("special_tokens", "equal_responses", "too_long"),
        *("duplicate", "near_duplicate", "in_benchmark"),
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
    """The mix. `distill` of its rows get chains, `heldout` rows are for measurement only, and RL learns from the rest."""

    sources: tuple[Source, ...] = Field(min_length=1)
    distill: Count = 0
    heldout: Count = 0
    max_prompt_tokens: PositiveInt = 4096  # of the rendered prompt, in the model's tokens
    near_duplicate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.8  # Jaccard similarity of word 5-grams that makes two rows one
    benchmarks: tuple[str, ...] = ()  # files or folders whose rows may not be trained on

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        labels = [source.label for source in self.sources]
        if twice := next((label for label in labels if labels.count(label) > 1), None):
            raise ValueError(f"two sources are called {twice!r}; give one of them a name")
        return self


class World(Frozen):
    """Generated tasks instead of a mix. `chains` tasks get a chain, `labels` tasks only a label. Without `families`: all."""

    families: tuple[str, ...] = ()
    chains: PositiveInt
    chain_levels: tuple[int, ...]
    labels: PositiveInt
    label_levels: tuple[int, ...]
    heldout: PositiveInt = 1000
    heldout_levels: tuple[int, ...]
    passes: Literal[0, 1, 2] = 2  # of the oracle; 1 keeps only the chains of its first pass that are right, 0 keeps bare answers
    slip: Share = 0.25  # share of first-pass chains in which the oracle is careless
