"""Replies of a judge to many prompts: by transformers' own generate, or by an SGLang server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reasrm.types import Message
from reasrm_training import policy

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

    from reasrm_training.sglang import SglangServer

#: Told while it works: replies so far, replies in all.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the judge wrote; `truncated` where it hit the token limit."""

    text: str
    tokens: int
    truncated: bool


#: Prompts, temperature, seed -> one reply to each prompt.
Generate = Callable[[Sequence[tuple[Message, ...]], float, int], list[Reply]]


def by_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_tokens: int,
    batch: int = 64,
    progress: Progress | None = None,
) -> Generate:
    """Replies by transformers' own generate, in batches of prompts of like length."""
    import torch

    def generate(prompts: Sequence[tuple[Message, ...]], temperature: float, seed: int) -> list[Reply]:
        ids = [policy.prompt_ids(tokenizer, prompt) for prompt in prompts]
        longest_first = sorted(range(len(ids)), key=lambda index: -len(ids[index]))
        replies: dict[int, Reply] = {}
        sampling: dict[str, Any] = {"do_sample": False}
        if temperature > 0:
            sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        model.eval()
        for start in range(0, len(ids), batch):
            chosen = longest_first[start : start + batch]
            padded = tokenizer.pad({"input_ids": [ids[i] for i in chosen]}, return_tensors="pt").to(model.device)
            with torch.no_grad(), torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
                torch.manual_seed(seed * 1_000_003 + start)  # a batch's replies depend on nothing before it, nor the other way
                out: Any = model.generate(**padded, **sampling, max_new_tokens=max_tokens, pad_token_id=tokenizer.pad_token_id)  # type: ignore[operator]
            for i, row in zip(chosen, out[:, padded["input_ids"].shape[1] :].tolist(), strict=True):
                replies[i] = _reply(tokenizer, row, max_tokens)
            if progress:
                progress(len(replies), len(ids))
        return [replies[i] for i in range(len(ids))]

    return generate


def by_trainer(trainer: Trainer, *, max_tokens: int) -> Generate:
    """Replies by the model that `trainer` trains, as it is at that moment, in the process that calls."""

    def generate(prompts: Sequence[tuple[Message, ...]], temperature: float, seed: int) -> list[Reply]:
        model: Any = trainer.accelerator.unwrap_model(trainer.model)
        tokenizer: Any = trainer.processing_class
        training = model.training
        try:
            return by_model(model, tokenizer, max_tokens=max_tokens)(prompts, temperature, seed)
        finally:
            model.train(training)  # by this TRL tells a step's numbers from those of an evaluation

    return generate


def by_sglang(
    server: SglangServer,
    tokenizer: PreTrainedTokenizerBase,
    *,
    version: str,
    max_tokens: int,
    progress: Progress | None = None,
) -> Generate:
    """Replies by an SGLang server whose weights are called `version`."""

    def generate(prompts: Sequence[tuple[Message, ...]], temperature: float, seed: int) -> list[Reply]:
        ids = [policy.prompt_ids(tokenizer, prompt) for prompt in prompts]
        params: Mapping[str, Any] = {"temperature": temperature, "max_new_tokens": max_tokens}
        seeds = [(seed * 1_000_003 + index) % 2**31 for index in range(len(ids))]
        drawn = server.sample(ids, params, seeds, version)
        if progress:
            progress(len(drawn), len(ids))
        return [_reply(tokenizer, sample.ids, max_tokens) for sample in drawn]

    return generate


def _reply(tokenizer: PreTrainedTokenizerBase, row: Sequence[int], max_tokens: int) -> Reply:
    """`row` up to its first end token."""
    ends = [index for index, token in enumerate(row) if token == tokenizer.eos_token_id]
    kept = list(row[: ends[0] + 1] if ends else row)
    return Reply(str(tokenizer.decode(kept, skip_special_tokens=True)), len(kept), not ends and len(kept) >= max_tokens)
