"""How often the policy beats its references, measured during a TRL run."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reasrm.client import checked
from reasrm.errors import GatewayError
from reasrm.rewards.connection import GatewayConnections, ask_and_wait
from reasrm.rewards.texts import prompt_of, response_of
from reasrm.rewards.thinking import Thinking
from reasrm.types import Pair, Side

log = logging.getLogger("reasrm.rewards")


def win_rate_callback(
    trainer: Any,
    url: str,
    prompts: Sequence[Any],
    references: Sequence[Any] | None = None,
    *,
    every_steps: int = 100,
    max_new_tokens: int = 256,
    batch_size: int = 8,
    token: str | None = None,
    timeout_s: float = 300.0,
    thinking: Thinking = "strip",
) -> Any:
    """A `TrainerCallback` that measures how often the policy beats `references`, every few steps and at the end.

    Without `references` the opponent is the policy as it was when training began. Each measurement logs `win_rate` (over the pairs
    with a verdict), its standard error and the share without verdict, and writes its examples to
    `OUTPUT_DIR/win_rate/step-N.jsonl` (and to a W&B table where a run is active). The main process generates the completions, with
    greedy decoding. Each pair is judged in both orders.
    """
    import torch.distributed as dist
    from transformers import TrainerCallback

    opponents: list[Any] = list(references or [])

    def completions_of(model: Any, tokenizer: Any) -> list[str]:
        texts: list[str] = []
        for start in range(0, len(prompts), batch_size):
            texts += _generate(model, tokenizer, prompts[start : start + batch_size], max_new_tokens)
        return texts

    class WinRate(TrainerCallback):
        """Has no state except the opponents' texts."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if not opponents and state.is_world_process_zero:
                opponents.extend(completions_of(kwargs["model"], kwargs["processing_class"]))

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step % every_steps and state.global_step < state.max_steps:
                return
            figures: list[Any] = [None]
            if state.is_world_process_zero:
                figures = [self.measure(args, state, completions_of(kwargs["model"], kwargs["processing_class"]))]
            if dist.is_available() and dist.is_initialized():
                dist.broadcast_object_list(figures)  # logging is a collective in TRL, so every rank has to log
            trainer.log(figures[0])

        def measure(self, args: Any, state: Any, completions: list[str]) -> dict[str, float]:
            pairs = [
                _pair(prompt, mine, other, thinking) for prompt, mine, other in zip(prompts, completions, opponents, strict=True)
            ]
            winners = ask_and_wait(lambda connections: _winners(connections, url, token, timeout_s, pairs))
            rows = [
                {
                    "prompt": prompt,
                    "completion": mine,
                    "reference": other,
                    "winner": {"A": "policy", "B": "reference"}.get(winner or ""),
                }
                for prompt, mine, other, winner in zip(prompts, completions, opponents, winners, strict=True)
            ]
            _write_examples(Path(args.output_dir) / "win_rate", state.global_step, rows)
            return _win_rate(winners)

    return WinRate()


def _pair(prompt: Any, a: Any, b: Any, thinking: Thinking) -> Pair:
    question, begun, _ = prompt_of(prompt)
    return checked(Pair.of, question, *(response_of(completion, begun, thinking=thinking) for completion in (a, b)))


async def _winners(
    connections: GatewayConnections, url: str, token: str | None, timeout_s: float, pairs: Sequence[Pair]
) -> list[Side | None]:
    """Each pair's winner, None where there is no verdict; an outage of the gateway does not stop the training."""
    winners: list[Side | None] = [None] * len(pairs)
    try:
        async for index, judgment in connections.judge(url, token, timeout_s).pairs(pairs, orders="both"):
            winners[index] = judgment.winner
    except GatewayError as error:
        log.warning("pairs have no verdict: %s", error)
    return winners


def _win_rate(winners: Sequence[Side | None]) -> dict[str, float]:
    verdicts = [winner for winner in winners if winner is not None]
    measured = {"win_rate/no_verdict": 1.0 - len(verdicts) / max(1, len(winners))}
    if verdicts:
        rate = verdicts.count("A") / len(verdicts)
        measured |= {"win_rate": rate, "win_rate/stderr": math.sqrt(rate * (1.0 - rate) / len(verdicts))}
    return measured


def _generate(model: Any, tokenizer: Any, prompts: Sequence[Any], max_new_tokens: int) -> list[str]:
    """Greedy completions of a batch of prompts (texts or messages)."""
    texts = [
        prompt if isinstance(prompt, str) else tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        for prompt in prompts
    ]
    side, tokenizer.padding_side = tokenizer.padding_side, "left"
    inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
    tokenizer.padding_side = side
    was_training = model.training
    model.eval()
    written = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    model.train(was_training)
    return tokenizer.batch_decode(written[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def _write_examples(folder: Path, step: int, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / f"step-{step}.jsonl").write_text(lines, encoding="utf-8")
    wandb: Any = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        table = wandb.Table(columns=list(rows[0]), data=[[str(value) for value in row.values()] for row in rows])
        wandb.log({"win_rate/examples": table})
