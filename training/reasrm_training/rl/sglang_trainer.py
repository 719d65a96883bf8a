"""GRPO whose replies an SGLang server samples from the policy's current weights.

TRL knows no SGLang. `SglangTrainer` brings one in through TRL's `rollout_func`, and lets TRL's own code for vLLM measure how
far the sampler's log-probabilities are from the trainer's and correct for it by truncated importance weights.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from trl import GRPOTrainer

from reasrm.types import Message
from reasrm_training.config.recipe import Recipe
from reasrm_training.measure.generation import JudgeReply, by_sglang
from reasrm_training.model.sglang_server import SglangServer
from reasrm_training.model.tokenizer import prompt_ids
from reasrm_training.rl.timed_trainer import TimedTrainer

SEED_STRIDE = 2**20  # more rollouts than any step has


class SglangTrainer(TimedTrainer):
    """GRPO with replies sampled by SGLang from the policy's current weights."""

    def __init__(self, *args: Any, server: SglangServer, recipe: Recipe, folder: Path, **settings: Any) -> None:
        super().__init__(*args, rollout_func=self._rollout, **settings)
        self.server = server
        self.recipe = recipe
        self.folder = folder
        # TRL updates a sampler's weights and corrects for its mismatch only where vLLM samples. From here on SGLang stands in
        # vLLM's place; the replies themselves come from `rollout_func`.
        self.use_vllm = True
        self.vllm_generation = self
        self._last_loaded_step = -1

    @property
    def weight_version(self) -> str:
        """The server's name for the policy's current weights. A run in another folder uses other names."""
        place = hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:8]
        return f"{self.recipe.name}-{self.recipe.digest}-{place}-{self.state.global_step}"

    def load_weights(self) -> None:
        """Call `sync_weights`, unless the server has the current weights already."""
        if self._last_loaded_step != self.state.global_step:
            self.sync_weights()
            self._last_loaded_step = self.state.global_step

    def judge(self, prompts: Sequence[tuple[Message, ...]], temperature: float, seed: int) -> list[JudgeReply]:
        """Replies by the server with its present weights (a `Generate`)."""
        tokenizer: Any = self.processing_class
        limits: Any = {"max_tokens": self.recipe.reply_tokens, "ends": self.eos_token_ids}
        replies = by_sglang(self.server, tokenizer, version=self.weight_version, **limits)
        return replies(prompts, temperature, seed)

    def sync_weights(self) -> None:
        """Give the server the policy's weights. Every process must call it."""
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
        """TRL's `rollout_func`: one reply to each prompt. A prompt stands in `prompts` once for each of its replies."""
        tokenizer: Any = self.processing_class
        ids = [prompt_ids(tokenizer, [Message.model_validate(m) for m in prompt]) for prompt in prompts]
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
    """The policy's whole weights by their names in the model's own files, with adapters added to the weights that they adapt.

    Every process must call it; where training is sharded, only the main process gets them. The policy does not change: merging
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
