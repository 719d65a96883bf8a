"""The judge inside TRL (>= 1.0): a reward for GRPO and RLOO, a win rate during training, and a pair judge for OnlineDPO-style code.

reward = functools.partial(judge_reward, url="http://gateway:8900", num_generations=8)
GRPOTrainer(..., reward_funcs=reward)
    trainer.add_callback(win_rate_callback(trainer, "http://gateway:8900", prompts, references))
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import sys
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reasrm.client import Judge
from reasrm.client.options import check_rank_fields
from reasrm.errors import ConfigurationError, GatewayError, InputError
from reasrm.judging.group import MAX_RESPONSES, Totals
from reasrm.rewards.pair_judge import GatewayPairJudge
from reasrm.rewards.rollouts import judge_at, question_of, response_of
from reasrm.types import NoVerdict, Ranking

__all__ = ["GatewayPairJudge", "judge_reward", "win_rate_callback"]
log = logging.getLogger("reasrm.rewards")
_PROCESS = uuid.uuid4().hex


async def judge_reward(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    *,
    url: str,
    num_generations: int | None = None,
    token: str | None = None,
    run: str | None = None,
    reference_column: str | None = None,
    timeout_s: float = 300.0,
    wait_s: float = 60.0,
    options: Mapping[str, Any] | None = None,
    trainer_state: Any = None,
    log_metric: Callable[[str, float], None] | None = None,
    **columns: Any,
) -> list[float | None]:
    """A reward in (-1, 1) for each completion, relative to the others of its prompt; None, which TRL leaves out, without verdict.

    Bind `url` and `num_generations` with `functools.partial`; the result can be pickled. Prompts and completions are TRL's: texts
    or messages. TRL hands over the local slice of a batch: whole groups in it are ranked at once; one that straddles ranks is
    gathered by the gateway from all of them, `wait_s` seconds at most (without `num_generations` a group is what the slice holds).
    `run` keeps training jobs apart; without it the ranks of this one draw a name that no other has.
    `reference_column` names a data set column with an answer to measure from; `options` are fields of `POST /v1/rank`.
    A failure is None, logged and counted in the metrics `judge/...`, and never stops the training. A mistake in the set-up
    (address, key, certificate, a mistyped option) raises `ConfigurationError`: training would otherwise go on without rewards.
    """
    judge = judge_at(url, token, timeout_s)
    references = [None] * len(prompts) if reference_column is None else _column(columns, reference_column)
    asked = dict(options or {})
    check_rank_fields(asked)
    step = f"{run or _this_job()}/{getattr(trainer_state, 'global_step', '')}"
    tally = _Tally()
    work: list[asyncio.Future[list[float | None]]] = []
    for members in _groups(prompts, references, num_generations):
        question = question_of(prompts[members[0]])
        responses = [response_of(completions[index]) for index in members]
        reference = references[members[0]]
        if num_generations is None or len(members) == num_generations:
            work.append(asyncio.ensure_future(_whole(judge, question, responses, reference, asked, tally)))
        else:
            cohort = {"cohort": num_generations, "run": step, "wait_s": wait_s, "reference": reference}
            cohort |= {name: asked[name] for name in ("method", "orders") if name in asked}
            work += [asyncio.ensure_future(_straddling(judge, question, each, cohort, tally)) for each in responses]
    rewards = [reward for part in await asyncio.gather(*work) for reward in part]
    if log_metric is not None:
        for name, value in tally.metrics(len(prompts)).items():
            log_metric(f"judge/{name}", value)
    return rewards


def _this_job() -> str:
    """A name that all ranks of this training job share and no other job has.

    One rank draws it, and all read it in the store through which they found each other, whatever launched them. (Names and ports
    that launchers set are not different for each job, and a collective in the middle of a step could meet another.)
    """
    mine = f"{_PROCESS}-{os.getpid()}"
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return mine
    store = distributed.distributed_c10d._get_default_store()
    return store.compare_set("reasrm/run", "", mine).decode()


def _column(columns: Mapping[str, Any], name: str) -> list[Any]:
    if name not in columns:
        raise InputError(f"the data set has no column {name!r} (reference_column); it has {', '.join(sorted(columns))}", field=name)
    return list(columns[name])


def _groups(prompts: Sequence[Any], references: Sequence[Any], size: int | None) -> list[list[int]]:
    """Runs of the same prompt, cut to at most `size`: TRL repeats each prompt for its generations, next to each other.

    A run at the slice's start may be the end of a group that another rank began, so it is cut from its end.
    """
    groups: list[list[int]] = []
    for index, prompt in enumerate(prompts):
        before = index - 1
        if index and prompts[before] == prompt and references[before] == references[index]:
            groups[-1].append(index)
        else:
            groups.append([index])
    limit = size or MAX_RESPONSES
    cut: list[list[int]] = []
    for number, members in enumerate(groups):
        first = len(members) % limit if number == 0 else 0
        cut += [members[:first]] if first else []
        cut += [members[start : start + limit] for start in range(first, len(members), limit)]
    return cut


@dataclass
class _Tally:
    """What a call learnt besides the rewards.

    A rollout of a group that straddles ranks brings its share of the group's totals: over all ranks they are counted once.
    """

    reasons: Counter[str] = field(default_factory=Counter[str])
    sums: defaultdict[str, float] = field(default_factory=lambda: defaultdict[str, float](float))
    seconds: float = 0.0

    def add(self, totals: Totals, share: float = 1.0) -> None:
        self.seconds = max(self.seconds, totals.seconds)
        for name in ("comparisons", "without_verdict", "cached", "both_orders", "consistent", "prompt_tokens", "completion_tokens"):
            self.sums[name] += share * getattr(totals, name)

    def metrics(self, rewards: int) -> dict[str, float]:
        """Shares and sums for the trainer's log."""
        found = {"no_verdict": sum(self.reasons.values()) / max(1, rewards)}
        found |= {f"no_verdict/{reason}": count / rewards for reason, count in self.reasons.items()}
        sums = self.sums
        if sums["comparisons"]:
            found |= {name: sums[name] for name in ("comparisons", "completion_tokens", "prompt_tokens")}
            found |= {
                "comparisons_without_verdict": sums["without_verdict"] / sums["comparisons"],
                "cached": sums["cached"] / sums["comparisons"],
                "seconds": self.seconds,
            }
            found |= {"order_consistency": sums["consistent"] / sums["both_orders"]} if sums["both_orders"] else {}
        return found


async def _whole(
    judge: Judge, question: Any, responses: list[Any], reference: Any, options: Mapping[str, Any], tally: _Tally
) -> list[float | None]:
    """A group that lies in the slice as a whole."""
    extra = {} if reference is None else {"reference": reference}
    try:
        fields: dict[str, Any] = {"replies": False, **extra, **options}
        ranking = await judge.rank(question, responses, **fields)
    except ConfigurationError:
        raise
    except (GatewayError, InputError) as error:
        log.warning("a group of %d has no rewards: %s", len(responses), error)
        tally.reasons["gateway"] += len(responses)
        return [None] * len(responses)
    tally.add(Totals.of(ranking))
    for standing in ranking.standings:
        if standing.reward is None:
            tally.reasons[_why(ranking, standing.index)] += 1
    return ranking.rewards


async def _straddling(judge: Judge, question: Any, response: Any, cohort: Mapping[str, Any], tally: _Tally) -> list[float | None]:
    """One response of a group that lies in several ranks."""
    try:
        found = await judge.reward(question, response, **cohort)
    except ConfigurationError:
        raise
    except (GatewayError, InputError) as error:
        log.warning("a rollout has no reward: %s", error)
        tally.reasons["gateway"] += 1
        return [None]
    if found.totals is not None:
        tally.add(found.totals, 1.0 / found.totals.responses)
    if found.reward is None:
        tally.reasons[found.no_verdict or "unknown"] += 1
    return [found.reward]


def _why(ranking: Ranking, index: int) -> str:
    outcomes = [each.judgment.outcome for each in ranking.comparisons if index in (each.i, each.j)]
    return next((outcome.reason for outcome in outcomes if isinstance(outcome, NoVerdict)), "alone")


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
) -> Any:
    """A `TrainerCallback` that measures how often the policy beats `references`, every so many steps and at the end.

    Without `references` the opponent is the policy as it was when training began. Each measurement logs `win_rate` (over the pairs
    with a verdict), its standard error and the share without verdict, and writes its examples to
    `OUTPUT_DIR/win_rate/step-N.jsonl` (and to a W&B table where a run is active). Completions are greedy, made by the main process.
    """
    import torch.distributed as dist
    from transformers import TrainerCallback

    judge = GatewayPairJudge(url, token=token, timeout_s=timeout_s)
    opponents: list[Any] = list(references or [])

    def generated(model: Any, tokenizer: Any) -> list[str]:
        texts: list[str] = []
        for start in range(0, len(prompts), batch_size):
            texts += _generate(model, tokenizer, prompts[start : start + batch_size], max_new_tokens)
        return texts

    class WinRate(TrainerCallback):
        """Holds no state of its own but the opponents' texts."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if not opponents and state.is_world_process_zero:
                opponents.extend(generated(kwargs["model"], kwargs["processing_class"]))

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step % every_steps and state.global_step < state.max_steps:
                return
            figures: list[Any] = [None]
            if state.is_world_process_zero:
                figures = [self.measure(args, state, generated(kwargs["model"], kwargs["processing_class"]))]
            if dist.is_available() and dist.is_initialized():
                dist.broadcast_object_list(figures)  # logging is a collective in TRL: every rank has to log
            trainer.log(figures[0])

        def measure(self, args: Any, state: Any, completions: list[str]) -> dict[str, float]:
            winners = judge.judge(prompts, list(zip(completions, opponents, strict=True)))
            rows = [
                {"prompt": prompt, "completion": mine, "reference": other, "winner": {0: "policy", 1: "reference"}.get(winner)}
                for prompt, mine, other, winner in zip(prompts, completions, opponents, winners, strict=True)
            ]
            _write_examples(Path(args.output_dir) / "win_rate", state.global_step, rows)
            return _win_rate(winners)

    return WinRate()


def _win_rate(winners: Sequence[int]) -> dict[str, float]:
    judged = [winner for winner in winners if winner >= 0]
    found = {"win_rate/no_verdict": 1.0 - len(judged) / max(1, len(winners))}
    if judged:
        rate = judged.count(0) / len(judged)
        found |= {"win_rate": rate, "win_rate/stderr": math.sqrt(rate * (1.0 - rate) / len(judged))}
    return found


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
