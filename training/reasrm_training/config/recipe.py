"""A recipe: everything that decides a training run, as one frozen, closed object that is read from TOML.

A stage whose table is absent does not run: a recipe without `[distill]` is cold RL, one without `[rlvr]` stops after
distillation. Every default stands in these tables and nowhere else. Relative paths are relative to the working directory.
`reasrm_training.config.recipes.load_recipe` reads a recipe.
"""

from __future__ import annotations

import hashlib
import json
import typing
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from reasrm.types import Frozen
from reasrm_training.config.consistency import first_mistake
from reasrm_training.config.data import Data, World
from reasrm_training.config.endpoints import Oracle
from reasrm_training.config.model import Model
from reasrm_training.config.training import Distill, Rlvr, Rollouts
from reasrm_training.config.values import Count, Precision, Stage


class Evaluate(Frozen):
    """The final measurement: held-out pairs greedily in both orders, sampled at T 1, and voting@k for each k of `votes`."""

    pairs: PositiveInt = 1000
    votes: tuple[PositiveInt, ...] = (4, 16)
    sampled_pairs: PositiveInt = 200  # of the pairs, for T 1 and voting, which need one reply per vote
    batch: PositiveInt = 64  # prompts at a time where transformers samples; halved when a GPU runs out of memory
    max_tokens: PositiveInt | None = None  # None: rlvr.max_completion_tokens


class Export(Frozen):
    """What is left for serving: safetensors and their card. LoRA is merged unless `merge` is false."""

    precision: Precision = "bf16"
    merge: bool = True
    license: str = "apache-2.0"


class Track(Frozen):
    """Where curves go besides TensorBoard, which always gets them, and how many held-out pairs are judged along the way."""

    to: tuple[Literal["wandb", "trackio"], ...] = ()
    project: str = "reasrm"
    pairs: Count = 4  # judged at every quarter of a stage, for the report; not where the policy is sharded


class Cluster(Frozen):
    """The machines. `gpus` counts those of one node (0: train on the CPU); `sharding` names a file of recipes/."""

    nodes: PositiveInt = 1
    gpus: Count = 0
    gpu: str = "H100"  # a key of reasrm_training.plan.gpus.GPUS
    sharding: Literal["none", "fsdp2", "zero3"] = "none"


class Recipe(Frozen):
    """A run. `prompts` is a prompt pack's name or folder; `output` is the folder that holds everything the run writes."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: Count = 42
    prompts: str = "rubric"
    output: str = ""  # empty: runs/NAME
    model: Model
    data: Data | None = None
    world: World | None = None
    oracle: Oracle | None = None
    distill: Distill | None = None
    rlvr: Rlvr | None = None
    rollouts: Rollouts = Rollouts()
    evaluate: Evaluate | None = None
    export: Export = Export()
    track: Track = Track()
    cluster: Cluster = Cluster()

    @model_validator(mode="after")
    def _tables_agree(self) -> Self:
        if mistake := first_mistake(self):
            raise ValueError(mistake)
        return self

    @property
    def trainers(self) -> int:
        """The number of training processes: one per GPU that is not set aside for sampling, or one on the CPU."""
        return max(1, self.cluster.nodes * (self.cluster.gpus - self.rollouts.gpus))

    @property
    def sampling_gpus(self) -> int:
        """The number of GPUs of one node that sample."""
        return self.rollouts.gpus or self.cluster.gpus

    @property
    def reply_tokens(self) -> int:
        """The most tokens that a reply may have when the judge is measured, or judges a few pairs along the way."""
        if self.evaluate and self.evaluate.max_tokens:
            return self.evaluate.max_tokens
        if self.rlvr:
            return self.rlvr.max_completion_tokens
        longest = self.distill.max_length if self.distill else 4096  # the judge learns from no longer chain
        return min(longest, 4096 if self.evaluate else 1024)

    @property
    def precision(self) -> Precision:
        """The precision of the last training stage, in which the judge is also measured on a GPU."""
        last = self.rlvr or self.distill
        return last.precision if last else "bf16"

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that this recipe has, in order."""
        tables = {"distill": self.distill, "chains": self.distill, "rlvr": self.rlvr, "evaluate": self.evaluate}
        return tuple(stage for stage in typing.get_args(Stage) if tables.get(stage, self) is not None)

    @property
    def digest(self) -> str:
        """Sixteen hex digits that name what decides the outcome. Where it is written or tracked does not."""
        content = self.model_dump(mode="json", exclude={"output", "track"}, by_alias=True)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def fence_key(self) -> bytes:
        """The secret behind the fences of training prompts. Any secret will do: a judge must read fences that it has never seen."""
        return hashlib.sha256(f"{self.name} {self.seed}".encode()).digest()

    @property
    def run_folder(self) -> Path:
        """The folder that holds everything the run writes."""
        return Path(self.output or f"runs/{self.name}")

    def folder(self, stage: Stage) -> Path:
        """The folder of `stage`'s results."""
        return self.run_folder / stage
