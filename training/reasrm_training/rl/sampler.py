"""Who samples the replies during RL: TRL's own generate, TRL's vLLM, or an SGLang server that is given the policy's weights.

TRL knows no SGLang. `SglangTrainer` gives it one through TRL's `rollout_func`, and lets TRL's own code for vLLM measure how far
the sampler's log-probabilities are from the trainer's and correct for it by truncated importance weights.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from safetensors.torch import save_file
from trl import GRPOTrainer

from reasrm.types import Message
from reasrm_training.config.recipe import Recipe
from reasrm_training.measure.sampling import JudgeReply, by_sglang
from reasrm_training.model import loading
from reasrm_training.rl.sglang_server import SglangServer, started

SEED_STRIDE = 2**20  # more rollouts than any step has


@contextmanager
def serving(recipe: Recipe, model: Path | None, folder: Path, *, together: bool = True) -> Iterator[SglangServer | None]:
    """The SGLang that this process samples with: the recipe's, or one of its own for the length of the `with`; None for others.

    One of its own starts on each node, with the weights of `model` (None: the recipe's) and an engine on each of the node's
    sampling GPUs; its log goes into `folder`. Every process must call this; without `together` it is the caller's alone.
    """
    rollouts = recipe.rollouts
    if rollouts.backend != "sglang":
        yield None
        return
    if rollouts.url:
        server = SglangServer(rollouts.url)
        yield server
        server.leave()
        return
    state = loading.processes(recipe)
    if not together or state.is_local_main_process:
        log = folder / ("sglang.log" if state.is_main_process else f"sglang-{state.process_index}.log")
        own: Any = started(rollouts.server, str(model or recipe.model.path), log, *_flags(recipe))
    else:
        own = nullcontext()
    with own as server:
        if together:  # the nearest before this process is its node's: a node's first process starts one
            urls = gather_object([server.url if server else None])
            server = server or SglangServer(next(url for url in reversed(urls[: state.process_index]) if url))
        yield server


def _flags(recipe: Recipe) -> list[str]:
    """What an SGLang that a run starts is told besides its model."""
    rollouts = recipe.rollouts
    flags = ["--tp-size", str(rollouts.tensor_parallel), "--mem-fraction-static", str(rollouts.memory_fraction)]
    if recipe.sampling_gpus > rollouts.tensor_parallel:
        flags += ["--dp-size", str(recipe.sampling_gpus // rollouts.tensor_parallel)]
    if recipe.rlvr:  # SGLang would sample in another precision than the trainer counts in: of a float32 folder, in float16
        flags += ["--dtype", "bfloat16" if recipe.rlvr.precision == "bf16" else "float32"]
    if rollouts.gpus:
        flags += ["--base-gpu-id", str(recipe.cluster.gpus - rollouts.gpus)]
    return flags


def trl_arguments(recipe: Recipe) -> dict[str, Any]:
    """What GRPOConfig is told about the sampler; the correction's options carry vLLM's name and serve SGLang too."""
    rollouts = recipe.rollouts
    told: dict[str, Any] = {
        "vllm_importance_sampling_correction": rollouts.importance_cap is not None,
        "vllm_importance_sampling_mode": "token_truncate",
        "vllm_importance_sampling_clip_max": rollouts.importance_cap or 1.0,
    }
    if rollouts.backend != "vllm":
        return told
    where = {"vllm_mode": "server", "vllm_server_base_url": rollouts.url} if rollouts.url else {"vllm_mode": "colocate"}
    return told | {
        "use_vllm": True,
        "vllm_gpu_memory_utilization": rollouts.memory_fraction,
        "vllm_tensor_parallel_size": rollouts.tensor_parallel,
        **where,
    }


class TimedTrainer(GRPOTrainer):
    """GRPO that logs where a step's seconds went: `sampling`, `weights` (to the sampler), `rewards`, and all else as `training`."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._since = 0.0

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Count the time of the `with` towards `part`, but for what is counted towards another within."""
        started, others = time.perf_counter(), sum(self._seconds.values())
        yield
        self._seconds[part] += time.perf_counter() - started - (sum(self._seconds.values()) - others)

    def training_step(self, *args: Any, **settings: Any) -> torch.Tensor:
        if not self._since:  # what came before the first step is none of its seconds
            self._seconds.clear()
            self._since = time.perf_counter()
        return super().training_step(*args, **settings)

    def _generate(self, prompts: list[Any]) -> Any:
        with self.timed("sampling"):
            return super()._generate(prompts)

    def _calculate_rewards(self, *args: Any) -> torch.Tensor:
        with self.timed("rewards"):
            return super()._calculate_rewards(*args)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self._seconds:
            now = time.perf_counter()
            parts = {**self._seconds, "training": now - self._since - sum(self._seconds.values())}
            logs |= {f"seconds/{part}": spent for part, spent in parts.items()}
            self._seconds.clear()
            self._since = now
        super().log(logs, start_time)


class SglangTrainer(TimedTrainer):
    """GRPO with replies sampled by SGLang from the policy's current weights."""

    def __init__(self, *args: Any, server: SglangServer, recipe: Recipe, folder: Path, **settings: Any) -> None:
        super().__init__(*args, rollout_func=self._rollout, **settings)
        self.server = server
        self.recipe = recipe
        self.folder = folder
        # TRL brings a sampler's weights up to date and corrects for its mismatch where it samples by vLLM. SGLang takes that
        # place from here on; the replies themselves come from `rollout_func`.
        self.use_vllm = True
        self.vllm_generation = self
        self._last_loaded_step = -1

    @property
    def weight_version(self) -> str:
        """What the server calls the weights that the policy has now; a run in another folder calls its own otherwise."""
        place = hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:8]
        return f"{self.recipe.name}-{self.recipe.digest}-{place}-{self.state.global_step}"

    def load_weights(self) -> None:
        """`sync_weights`, unless the server has these weights already."""
        if self._last_loaded_step != self.state.global_step:
            self.sync_weights()
            self._last_loaded_step = self.state.global_step

    def judge(self, prompts: Sequence[tuple[Message, ...]], temperature: float, seed: int) -> list[JudgeReply]:
        """Replies by the server, with the weights that it has (`Generate`)."""
        tokenizer: Any = self.processing_class
        limits: Any = {"max_tokens": self.recipe.reply_tokens, "ends": self.eos_token_ids}
        replies = by_sglang(self.server, tokenizer, version=self.weight_version, **limits)
        return replies(prompts, temperature, seed)

    def sync_weights(self) -> None:
        """Give the server the policy's weights; every process must call it."""
        main = self.accelerator.is_main_process
        with self.timed("weights"):
            weights = full_weights(self)
            if self.recipe.rollouts.weights == "tensors":
                if main:
                    self.server.load_tensors(weights, self.weight_version)
            else:
                path = self.folder / "weights" / str(self.state.global_step)
                if main:
                    self._write(weights, path)
                self.accelerator.wait_for_everyone()
                if main or (self.accelerator.is_local_main_process and not self.recipe.rollouts.url):
                    self.server.load_folder(path, self.weight_version)
            self.accelerator.wait_for_everyone()

    def _write(self, weights: dict[str, torch.Tensor], path: Path) -> None:
        shutil.rmtree(path.parent, ignore_errors=True)
        path.mkdir(parents=True)
        save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
        self.accelerator.unwrap_model(self.model).config.save_pretrained(path)

    def _rollout(self, prompts: list[Any], _: GRPOTrainer) -> dict[str, Any]:
        """TRL's `rollout_func`: one reply to each prompt; a prompt stands in `prompts` once for each of its replies."""
        tokenizer: Any = self.processing_class
        ids = [loading.prompt_ids(tokenizer, [Message.model_validate(m) for m in prompt]) for prompt in prompts]
        params = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_new_tokens": self.max_completion_length,
            "stop_token_ids": self.eos_token_ids,
        }
        first = (self.state.global_step * SEED_STRIDE + self.accelerator.process_index * len(ids) + self.args.seed) % 2**31
        seeds = [(first + index) % 2**31 for index in range(len(ids))]
        replies = self.server.sample(ids, params, seeds, self.weight_version)
        return {
            "prompt_ids": ids,
            "completion_ids": [reply.ids for reply in replies],
            "logprobs": [reply.logprobs for reply in replies],
        }


def full_weights(trainer: GRPOTrainer) -> dict[str, torch.Tensor]:
    """The policy's whole weights by their names in the model's own files, adapters added to what they adapt.

    Every process must call it; where training is sharded, only the main one gets them. The policy is left as it is: merging
    in place and back would round its frozen weights a little more each time.
    """
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    state: dict[str, Any] = trainer.accelerator.get_state_dict(trainer.model_wrapped) or {}
    dtype = torch.bfloat16 if trainer.args.bf16 else torch.float32
    scaling = _lora_scaling(model)
    weights: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        if ".lora_" in name or "modules_to_save" in name:
            continue
        plain = name.removeprefix("module.").removeprefix("base_model.model.")
        if ".base_layer" in name:
            part = name.replace(".base_layer.weight", "")
            up, down = state.get(f"{part}.lora_B.default.weight"), state.get(f"{part}.lora_A.default.weight")
            if up is not None and down is not None:
                tensor = tensor.float() + scaling * (up.float() @ down.float())
            plain = plain.replace(".base_layer", "")
        weights[plain] = tensor.detach().to(dtype).contiguous()
    if model.config.get_text_config().tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    return weights


def _lora_scaling(model: Any) -> float:
    if not hasattr(model, "peft_config"):
        return 0.0
    config = model.peft_config["default"]
    return config.lora_alpha / config.r
