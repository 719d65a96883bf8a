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
    """The final measurement of held-out pairs: greedy in both orders, one sample at temperature 1, and voting."""

    pairs: PositiveInt = Field(default=1000, description="How many held-out pairs are judged greedily.")
    votes: tuple[PositiveInt, ...] = Field(default=(4, 16), description="The numbers k of replies for voting@k.")
    sampled_pairs: PositiveInt = Field(
        default=200, description="How many of the pairs are judged at T 1 and by voting, which need one reply per vote."
    )
    batch: PositiveInt = Field(
        default=64, description="Prompts at the same time where transformers samples. It is halved when a GPU runs out of memory."
    )
    max_tokens: PositiveInt | None = Field(
        default=None, description="The longest reply, in tokens. None: `rlvr.max_completion_tokens`."
    )


class Export(Frozen):
    """The exported judge: safetensors and their card. Any engine can serve it."""

    precision: Precision = Field(default="bf16", description="The precision of the exported weights.")
    merge: bool = Field(default=True, description="Merge LoRA adapters into the weights.")
    license: str = Field(default="apache-2.0", description="The license in the card of the judge.")


class Track(Frozen):
    """The trackers of the curves, and the pairs that are judged during training. TensorBoard always gets the curves."""

    to: tuple[Literal["wandb", "trackio"], ...] = Field(
        default=(), description="Trackers that get the curves besides TensorBoard. Each needs its package."
    )
    project: str = Field(default="reasrm", description="The project at the tracker.")
    pairs: Count = Field(
        default=4,
        description="Held-out pairs that are judged at every quarter of a stage, unless the policy is sharded.",
    )


class Cluster(Frozen):
    """The machines that train, and how they share the model."""

    nodes: PositiveInt = Field(default=1, description="The number of machines.")
    gpus: Count = Field(default=0, description="GPUs per machine. 0: train on the CPU.")
    gpu: str = Field(
        default="H100", description="The kind of GPU, for `reasrm train plan`: a name in `reasrm_training.plan.gpus.GPUS`."
    )
    sharding: Literal["none", "fsdp2", "zero3"] = Field(
        default="none", description="How weights, gradients and optimizer states are split over the GPUs."
    )


class Recipe(Frozen):
    """A training run: its name, its seed, and its tables."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="The name of the run.")
    seed: Count = Field(default=42, description="The seed of everything that is drawn.")
    prompts: str = Field(default="rubric", description="The prompt pack: a name or a folder.")
    output: str = Field(default="", description="The folder that holds everything the run writes. Empty: runs/NAME.")
    model: Model = Field(description="The policy at the start of training.")
    data: Data | None = Field(default=None, description="The mix of preference data.")
    world: World | None = Field(default=None, description="Generated tasks, in place of `data`.")
    oracle: Oracle | None = Field(default=None, description="The models that write the chains.")
    distill: Distill | None = Field(default=None, description="Stage 1: SFT on chains. Absent: the stage does not run.")
    rlvr: Rlvr | None = Field(default=None, description="Stage 2: RL with verifiable rewards. Absent: the stage does not run.")
    rollouts: Rollouts = Field(default=Rollouts(), description="The sampler of RL's replies.")
    evaluate: Evaluate | None = Field(default=None, description="The final measurement. Absent: the stage does not run.")
    export: Export = Field(default=Export(), description="The judge that is left for serving.")
    track: Track = Field(default=Track(), description="Trackers and the pairs of the report.")
    cluster: Cluster = Field(default=Cluster(), description="The machines of the run.")

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
