"""A recipe: everything that decides a training run, as one frozen, closed object read from TOML.

A part that is absent is a stage that does not run: a recipe without `[distill]` is cold RL, one without `[rlvr]` stops
after distillation. Each default stands here and nowhere else; relative paths are relative to the working directory.
`reasrm_training.config.recipes.load_recipe` reads one.
"""

from __future__ import annotations

import hashlib
import json
import typing
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from reasrm.types import Frozen
from reasrm_training.config.endpoints import Oracle

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
Stage = Literal["data", "chains", "distill", "rlvr", "evaluate", "export"]
DropRule = Literal["magpie_ultra", "special_tokens", "equal_responses", "duplicate", "near_duplicate", "in_benchmark", "too_long"]
RewardName = Literal["verdict", "format", "consistency", "margin", "length"]
#: Of a stage's arithmetic. Weights that are trained are held in fp32 all the same, frozen ones in bf16.
Precision = Literal["bf16", "fp32"]


class Shape(Frozen):
    """The numbers of a decoder's `config.json` that decide its size, under their names there."""

    hidden_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    intermediate_size: PositiveInt
    vocab_size: PositiveInt
    num_key_value_heads: PositiveInt | None = None  # None: as many as attention heads
    head_dim: PositiveInt | None = None  # None: hidden_size / num_attention_heads
    max_position_embeddings: PositiveInt = 2048
    tie_word_embeddings: bool = False
    rope_theta: PositiveFloat = 10_000.0
    initializer_range: PositiveFloat = 0.02
    attention_bias: bool = False


class Lora(Frozen):
    """Train adapters instead of the weights (arXiv 2106.09685); over NF4 weights if `four_bit` (arXiv 2305.14314)."""

    rank: PositiveInt = 64
    alpha: PositiveInt = 128
    dropout: Share = 0.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    four_bit: bool = False


class Model(Frozen):
    """The policy at the start: `path` is a hub id or a folder; `scratch` a Llama of that shape with random weights."""

    path: str | None = None
    revision: str | None = None
    scratch: Shape | None = None
    attention: Literal["sdpa", "flash_attention_2", "eager"] = "sdpa"
    gradient_checkpointing: bool = True
    lora: Lora | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.path is None) == (self.scratch is None):
            raise ValueError("give either path (a hub id or a folder) or scratch (a shape), not both")
        if self.lora and self.scratch:
            raise ValueError("a model from scratch cannot be trained by adapters: drop lora")
        return self


class Source(Frozen):
    """One preference data set: a file, a data set folder or a hub id, of which `sample` rows are drawn (None: all)."""

    path: str
    name: str = ""  # in manifests; the path's last part where empty
    split: str | None = None  # where there are several
    config: str | None = None  # of a hub data set that has several
    data_dir: str | None = None  # the folder of a hub data set that holds its files, as HelpSteer2 keeps its preferences in one
    schema_: str | None = Field(default=None, alias="schema")  # None: recognised from the columns
    columns: dict[str, str] = Field(default={})  # known name -> column here, for files of no published schema
    sample: PositiveInt | None = None
    drop: tuple[DropRule, ...] = (
        *("special_tokens", "equal_responses", "too_long"),
        *("duplicate", "near_duplicate", "in_benchmark"),
    )

    @property
    def label(self) -> str:
        """The source's name in manifests and rows."""
        return self.name or Path(self.path).name


class Data(Frozen):
    """The mix. `distill` rows of it are to get chains, `heldout` rows are measured on, and the rest is for RL."""

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
    """Generated tasks in place of a mix: `chains` of them get a chain, `labels` only a label. No family named: all."""

    families: tuple[str, ...] = ()
    chains: PositiveInt
    chain_levels: tuple[int, ...]
    labels: PositiveInt
    label_levels: tuple[int, ...]
    heldout: PositiveInt = 1000
    heldout_levels: tuple[int, ...]
    passes: Literal[0, 1, 2] = 2  # of the oracle; 1 keeps only what it got right unaided, 0 keeps bare answers: the control
    slip: Share = 0.25  # share of first-pass chains in which the oracle is careless


class Distill(Frozen):
    """Stage 1: SFT on chains, loss on the reply only.

    `batch` counts sequences over all devices, `micro_batch` those that one device holds at a time.
    """

    batch: PositiveInt = 128
    micro_batch: PositiveInt = 1
    epochs: PositiveFloat = 1.0
    steps: PositiveInt | None = None  # overrides epochs
    learning_rate: PositiveFloat
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Share = 0.03  # share of the steps
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    adam_beta2: Share = 0.999
    max_grad_norm: PositiveFloat = 1.0
    max_length: PositiveInt = 12_288
    packing: bool = True
    precision: Precision = "bf16"
    save_steps: PositiveInt = 100


class Guard(Frozen):
    """When RL stops itself: a bound that is broken at `patience` logged steps in a row means collapse."""

    probability_a: tuple[Share, Share] = (0.15, 0.85)  # share of verdicts that name A
    min_format: Share = 0.5
    max_length_share: Share = 0.95  # mean reply length over max_completion_tokens
    min_entropy: Annotated[float, Field(ge=0.0)] = 0.005  # nats a token
    patience: PositiveInt = 5


class Rlvr(Frozen):
    """Stage 2: GRPO.

    A step draws `prompts` prompts, samples `generations` replies to each, and updates once per `mini_batch` prompts.
    `micro_batch` counts the replies that one device holds at a time. `kl` 0 needs no reference model.
    A reply's reward is the sum of the named rewards by their weights.
    """

    steps: PositiveInt
    prompts: PositiveInt = 1024
    mini_batch: PositiveInt = 128
    generations: Annotated[int, Field(ge=2)] = 7
    micro_batch: PositiveInt = 1
    learning_rate: PositiveFloat
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup: Share = 0.0
    kl: Annotated[float, Field(ge=0.0)] = 1e-3
    clip: PositiveFloat = 0.2
    clip_high: PositiveFloat | None = None  # None: as clip
    loss: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = "dapo"
    scale_rewards: Literal["group", "batch", "none"] = "group"
    temperature: PositiveFloat = 1.0
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    max_prompt_tokens: PositiveInt = 4096
    max_completion_tokens: PositiveInt = 8192
    max_grad_norm: PositiveFloat = 1.0
    precision: Precision = "bf16"
    orders: Literal["both", "one"] = "both"  # each pair both ways round in one batch, or only as given
    reward: dict[RewardName, float] = Field(default={"verdict": 1.0}, min_length=1)  # name -> weight
    guard: Guard = Guard()
    save_steps: PositiveInt = 10

    @model_validator(mode="after")
    def _batches_fit(self) -> Self:
        if self.prompts % self.mini_batch:
            raise ValueError(f"prompts ({self.prompts}) must be a multiple of mini_batch ({self.mini_batch})")
        if self.orders == "both" and self.prompts % 2:
            raise ValueError(f'prompts ({self.prompts}) must be even with orders = "both": a pair takes two')
        if self.orders == "one" and "consistency" in self.reward:
            raise ValueError('the consistency reward needs orders = "both"')
        return self

    @property
    def updates_per_step(self) -> int:
        """Optimizer updates between two rounds of sampling."""
        return self.prompts // self.mini_batch


class Rollouts(Frozen):
    """Who samples during RL. `url` is a running server's; where it is empty, the run starts one of its own."""

    backend: Literal["transformers", "sglang", "vllm"] = "transformers"
    url: str = ""
    server: str = "python -m sglang.launch_server"  # starts an SGLang: name the Python of the environment that has it
    gpus: Count = 0  # the last ones of each node, set aside for sampling; 0: it shares the trainer's
    weights: Literal["disk", "tensors"] = "disk"  # how SGLang gets the policy's; tensors only where it has its own GPUs
    tensor_parallel: PositiveInt = 1  # GPUs of one engine; a node has as many engines as its sampling GPUs make
    memory_fraction: Share = 0.4  # of a GPU's memory that the engine may hold
    importance_cap: PositiveFloat | None = 2.0  # truncated importance weights; None: uncorrected


class Evaluate(Frozen):
    """The final measurement: held-out pairs greedy in both orders, sampled at T 1, and voting@k for each of `votes`."""

    pairs: PositiveInt = 1000
    votes: tuple[PositiveInt, ...] = (4, 16)
    sampled_pairs: PositiveInt = 200  # of the pairs, for T 1 and voting: they cost a reply a vote
    batch: PositiveInt = 64  # prompts at a time where transformers samples; halved where a GPU's memory does not do
    max_tokens: PositiveInt | None = None  # None: rlvr.max_completion_tokens


class Export(Frozen):
    """What is left for serving: safetensors with their card. LoRA is merged unless `merge` is false."""

    precision: Precision = "bf16"
    merge: bool = True
    license: str = "apache-2.0"


class Track(Frozen):
    """Where curves go besides TensorBoard, which always gets them, and how many held-out pairs are judged along the way."""

    to: tuple[Literal["wandb", "trackio"], ...] = ()
    project: str = "reasrm"
    pairs: Count = 4  # judged at every quarter of a stage, to be read in the report; not where the policy is sharded


class Cluster(Frozen):
    """The machines. `gpus` are those of one node (0: the CPU trains); `sharding` names a file of recipes/."""

    nodes: PositiveInt = 1
    gpus: Count = 0
    gpu: str = "H100"  # a key of plan.GPUS
    sharding: Literal["none", "fsdp2", "zero3"] = "none"


class Recipe(Frozen):
    """A run. `prompts` is a prompt pack's name or folder; `output` holds everything that the run writes."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: Count = 42
    prompts: str = "rubric"
    output: str = ""  # runs/NAME where empty
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
    def _holds_together(self) -> Self:
        if (self.data is None) == (self.world is None):
            raise ValueError("give either [data] (a mix of preference data) or [world] (generated tasks), not both")
        if self.data and self.distill and not self.data.distill:
            raise ValueError("[distill] needs chains: give data.distill, the number of rows that are to get one")
        if self.data and self.evaluate and not self.data.heldout:
            raise ValueError("[evaluate] needs pairs: give data.heldout, the number of rows to measure by")
        self._sampling_fits()
        if self.distill and self.distill.batch % (self.trainers * self.distill.micro_batch):
            raise ValueError(_indivisible("distill.batch", self.distill.batch, "distill.micro_batch", self.trainers))
        replies = self.rlvr.mini_batch * self.rlvr.generations if self.rlvr else 0
        if self.rlvr and replies % (self.trainers * self.rlvr.micro_batch):
            raise ValueError(_indivisible("rlvr.mini_batch x generations", replies, "rlvr.micro_batch", self.trainers))
        return self

    def _sampling_fits(self) -> None:
        """Raises ValueError where the GPUs that sample cannot do it as they are told to."""
        rollouts, cluster = self.rollouts, self.cluster
        if rollouts.gpus and rollouts.gpus >= cluster.gpus:
            raise ValueError(
                f"rollouts.gpus ({rollouts.gpus}) leaves no GPU of a node to train on (cluster.gpus is {cluster.gpus})"
            )
        if rollouts.gpus and (rollouts.backend == "transformers" or (rollouts.backend == "vllm" and not rollouts.url)):
            raise ValueError(f"rollouts.gpus: {rollouts.backend} samples on the GPUs that train, so these would idle; leave it out")
        lora = self.model.lora if self.rlvr and rollouts.backend == "sglang" else None
        if lora and lora.four_bit:
            raise ValueError('rollouts.backend: "sglang" needs whole weights; take another, or drop model.lora.four_bit')
        if lora and "embed_tokens" in lora.targets:
            raise ValueError(
                'rollouts.backend: "sglang" is given no adapters to embeddings; drop embed_tokens from model.lora.targets'
            )
        if rollouts.backend != "sglang" or rollouts.url or not cluster.gpus:
            return
        size = rollouts.tensor_parallel
        if self.sampling_gpus % size:
            raise ValueError(
                f"rollouts.tensor_parallel ({size}) does not divide the {self.sampling_gpus} GPUs of a node that sample"
            )
        if rollouts.weights == "tensors" and (rollouts.gpus != size or cluster.nodes > 1):
            # NCCL joins no two processes on one GPU, and SGLang takes a broadcast only where it is one engine.
            raise ValueError(
                'rollouts.weights: "tensors" needs one node and one engine on GPUs of its own (rollouts.gpus = '
                f'rollouts.tensor_parallel = {size}); take "disk"'
            )

    @property
    def trainers(self) -> int:
        """Processes that train: one a GPU that is not set aside for sampling, one where there is none."""
        return max(1, self.cluster.nodes * (self.cluster.gpus - self.rollouts.gpus))

    @property
    def sampling_gpus(self) -> int:
        """GPUs of one node that sample."""
        return self.rollouts.gpus or self.cluster.gpus

    @property
    def reply_tokens(self) -> int:
        """The most tokens that a reply may have when the judge is measured, or only judges a few pairs along the way."""
        if self.evaluate and self.evaluate.max_tokens:
            return self.evaluate.max_tokens
        if self.rlvr:
            return self.rlvr.max_completion_tokens
        longest = self.distill.max_length if self.distill else 4096  # no chain that it learns from is longer
        return min(longest, 4096 if self.evaluate else 1024)

    @property
    def precision(self) -> Precision:
        """Of the arithmetic of the last training stage, in which the judge is measured on a GPU too."""
        last = self.rlvr or self.distill
        return last.precision if last else "bf16"

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that this recipe asks for, in order."""
        asked = {"distill": self.distill, "chains": self.distill, "rlvr": self.rlvr, "evaluate": self.evaluate}
        return tuple(stage for stage in typing.get_args(Stage) if asked.get(stage, self) is not None)

    @property
    def digest(self) -> str:
        """Sixteen hex digits that name what decides the outcome; where it is written or tracked does not."""
        content = self.model_dump(mode="json", exclude={"output", "track"}, by_alias=True)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def fence_key(self) -> bytes:
        """The secret behind the fences of training prompts. Any will do: a judge must read fences that it has never seen."""
        return hashlib.sha256(f"{self.name} {self.seed}".encode()).digest()

    def folder(self, stage: Stage) -> Path:
        """Where `stage` writes."""
        return Path(self.output or f"runs/{self.name}") / stage


def _indivisible(what: str, count: int, micro: str, trainers: int) -> str:
    return f"{what} ({count}) must be a multiple of {micro} x {trainers} training processes"
