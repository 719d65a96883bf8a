"""Replies of a judge to many prompts: written by transformers' own generate, or by an SGLang server."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reasrm.types import Message
from reasrm_training.model.tokenizer import prompt_ids

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, Trainer

    from reasrm_training.model.sglang_server import SglangServer

#: Called along the way with the replies so far and the replies in all.
OnReply = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class JudgeReply:
    """A reply of the judge. `tokens` counts it with its end token; `truncated` says that it reached the token limit."""

    text: str
    tokens: int
    truncated: bool


#: Takes prompts, a temperature and a seed, and returns one reply to each prompt.
Generate = Callable[[Sequence[tuple[Message, ...]], float, int], list[JudgeReply]]


def by_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_tokens: int,
    batch: int = 64,
    on_reply: OnReply | None = None,
) -> Generate:
    """Replies by transformers' own generate, in batches of prompts of similar length.

    Batches are halved when a GPU has no memory left.
    """
    import torch
    from transformers import GenerationConfig

    ends = end_tokens(tokenizer, model.generation_config)
    fitting = batch

    def generate(prompts: Sequence[tuple[Message, ...]], temperature: float, seed: int) -> list[JudgeReply]:
        nonlocal fitting
        sampling: dict[str, Any] = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature > 0 else {}
        config = GenerationConfig(**sampling, max_new_tokens=max_tokens, eos_token_id=ends, pad_token_id=tokenizer.pad_token_id)
        ids = [prompt_ids(tokenizer, prompt) for prompt in prompts]
        longest_first = sorted(range(len(ids)), key=lambda index: -len(ids[index]))
        replies: dict[int, JudgeReply] = {}
        model.eval()
        while (start := len(replies)) < len(ids):
            batch_rows = longest_first[start : start + fitting]
            try:
                rows = _generated(model, tokenizer, [ids[i] for i in batch_rows], config, seed * 1_000_003 + start)
            except torch.cuda.OutOfMemoryError:
                if len(batch_rows) == 1:
                    raise
                fitting = len(batch_rows) // 2
                continue
            replies |= {i: _reply(tokenizer, row, ends, max_tokens) for i, row in zip(batch_rows, rows, strict=True)}
            if on_reply:
                on_reply(len(replies), len(ids))
        return [replies[i] for i in range(len(ids))]

    return generate


def _generated(model: Any, tokenizer: Any, ids: Sequence[Sequence[int]], config: GenerationConfig, seed: int) -> list[list[int]]:
    """The tokens that `model` writes after each of `ids` by `config` alone, padded to one length."""
    import torch

    padded = tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(model.device)
    core = model.get_base_model() if hasattr(model, "get_base_model") else model
    # `generate` fills the gaps of a config from the model's own, repetition penalties included. So that one is put aside.
    own, core.generation_config = core.generation_config, config
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
            torch.manual_seed(seed)  # so that a batch's replies depend on no batch before it, and training does not depend on them
            return model.generate(**padded)[:, padded["input_ids"].shape[1] :].tolist()
    finally:
        core.generation_config = own


def by_trainer(trainer: Trainer, *, max_tokens: int) -> Generate:
    """Replies by the model that `trainer` trains, in its state at the time of the call, in the calling process."""

    def generate(prompts: Sequence[tuple[Message, ...]], temperature: float, seed: int) -> list[JudgeReply]:
        model: Any = trainer.accelerator.unwrap_model(trainer.model)
        tokenizer: Any = trainer.processing_class
        training = model.training
        try:
            return by_model(model, tokenizer, max_tokens=max_tokens)(prompts, temperature, seed)
        finally:
            model.train(training)  # TRL tells a step's numbers from an evaluation's by this mode

    return generate


def by_sglang(
    server: SglangServer,
    tokenizer: PreTrainedTokenizerBase,
    *,
    version: str,
    max_tokens: int,
    ends: Collection[int] = (),
    on_reply: OnReply | None = None,
) -> Generate:
    """Replies by an SGLang server whose weights are called `version`. Any of `ends` ends a reply (empty: the tokenizer's own)."""
    stops: Any = list(ends) or [tokenizer.eos_token_id]

    def generate(prompts: Sequence[tuple[Message, ...]], temperature: float, seed: int) -> list[JudgeReply]:
        ids = [prompt_ids(tokenizer, prompt) for prompt in prompts]
        params: Mapping[str, Any] = {"temperature": temperature, "max_new_tokens": max_tokens, "stop_token_ids": stops}
        seeds = [(seed * 1_000_003 + index) % 2**31 for index in range(len(ids))]
        samples = server.sample(ids, params, seeds, version)
        if on_reply:
            on_reply(len(samples), len(ids))
        return [_reply(tokenizer, sample.ids, stops, max_tokens) for sample in samples]

    return generate


def end_tokens(tokenizer: PreTrainedTokenizerBase, config: GenerationConfig) -> list[int]:
    """The tokens that end a reply: the tokenizer's, and those of the model's `config`, as a chat model may have several."""
    own = config.eos_token_id
    return sorted({*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id} - {None})  # type: ignore[type-var]


def _reply(tokenizer: PreTrainedTokenizerBase, row: Sequence[int], ends: Collection[int], max_tokens: int) -> JudgeReply:
    """The reply in `row`, up to its first end token."""
    end = next((index for index, token in enumerate(row) if token in ends), None)
    kept = list(row if end is None else row[: end + 1])
    return JudgeReply(str(tokenizer.decode(kept, skip_special_tokens=True)), len(kept), end is None and len(kept) >= max_tokens)
