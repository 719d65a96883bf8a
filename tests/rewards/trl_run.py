"""A real GRPO run on a tiny policy with the judge as its reward; a rank of it, when torchrun's variables are set.

python trl_run.py MODEL URL OUTPUT PROMPTS PER_RANK GENERATIONS STEPS
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from reasrm.rewards.trl import judge_reward, win_rate_callback


def main(model: str, url: str, output: str, prompts: str, per_rank: int, generations: int, steps: int) -> None:
    """Train and write the log."""
    torch.set_num_threads(1)
    rows = Dataset.from_list([json.loads(line) for line in Path(prompts).read_text().splitlines()])
    config = GRPOConfig(
        output_dir=output, per_device_train_batch_size=per_rank, num_generations=generations, max_steps=steps,
        max_completion_length=12, logging_steps=1, report_to="none", save_strategy="no", use_cpu=True, temperature=1.0, seed=3,
        learning_rate=1e-4, bf16=False, gradient_checkpointing=False,
    )  # fmt: skip
    reward = functools.partial(judge_reward, url=url, num_generations=generations, wait_s=30.0, options={"max_tokens": 400})
    trainer = GRPOTrainer(model=model, reward_funcs=reward, args=config, train_dataset=rows)
    callback = win_rate_callback(trainer, url, ["answer 1", "answer 2"], every_steps=steps, max_new_tokens=8)
    trainer.add_callback(callback)
    trainer.train()
    if trainer.accelerator.is_main_process:
        Path(output, "log.json").write_text(json.dumps(trainer.state.log_history))


if __name__ == "__main__":
    main(*sys.argv[1:5], *map(int, sys.argv[5:8]))
