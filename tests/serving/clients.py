"""How RL frameworks ask for rewards, as their own code does: payloads, timeouts, retries, and what they make of the answer."""

from __future__ import annotations

import asyncio
import functools
import inspect
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import numpy as np


class OpenRlhfExecutor:
    """OpenRLHF >= 0.11, `openrlhf/utils/agent.py`: `SingleTurnAgentExecutor` with `--reward.remote_url`.

    One query a call, cut evenly over the addresses, so that with several the first gets it and the others empty lists. A session of
    180 s a try, five tries, a second between them, whatever went wrong; then the sample has no reward, and the run goes on or not.
    """

    def __init__(self, reward_endpoints: str | Sequence[str]) -> None:
        self.reward_endpoints = [reward_endpoints] if isinstance(reward_endpoints, str) else list(reward_endpoints)

    async def execute(self, prompt: str, response: str, label: Any) -> dict[str, Any]:
        """The reward part of a sample; `response` is what the policy wrote after `prompt`, special tokens included."""
        output: dict[str, Any] = {"reward": None, "scores": None, "extra_logs": {}}
        try:
            infos = await self.fetch([prompt + response], [prompt], [label])
        except RuntimeError:
            return output
        info = infos[0] if infos else None
        if info:
            output |= {
                "reward": info.get("rewards"),
                "scores": info.get("scores") or info.get("rewards"),
                "extra_logs": info.get("extra_logs") or {},
            }
        return output

    async def fetch(self, queries: list[str], prompts: list[str], labels: list[Any]) -> list[dict[str, Any]]:
        """What every address answers to its part."""
        size = -(-len(queries) // len(self.reward_endpoints))
        parts = [slice(i * size, min((i + 1) * size, len(queries))) for i in range(len(self.reward_endpoints))]
        bodies = [{"query": queries[part], "prompts": prompts[part], "labels": labels[part]} for part in parts]
        return list(await asyncio.gather(*map(self._post, self.reward_endpoints, bodies)))

    async def _post(self, url: str, body: dict[str, Any], tries: int = 5) -> dict[str, Any]:
        for _ in range(tries):
            try:
                async with (
                    aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=180)) as session,
                    session.post(url, json=body) as response,
                ):
                    response.raise_for_status()
                    return await response.json()
            except Exception:  # noqa: BLE001 - as theirs
                await asyncio.sleep(1)
        raise RuntimeError(f"no reward after {tries} tries")


def openrlhf_batch(outputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What OpenRLHF makes of a step's samples: one float tensor of rewards and one of each extra log, named as in the first sample.

    `openrlhf/trainer/ppo_utils/experience_maker.py`, `update_samples_with_rewards`. Raises where a value is no number or missing.
    """
    import torch

    logs = {name: torch.tensor([each["extra_logs"][name] for each in outputs]) for name in outputs[0]["extra_logs"]}
    return {
        "rewards": torch.tensor([each["reward"] for each in outputs]),
        "scores": torch.tensor([each["scores"] for each in outputs]),
    } | logs


class SlimeRm:
    """slime, `slime/rollout/rm_hub/__init__.py`: `remote_rm`, with `--rm-type remote_rm --rm-url ...`.

    One session for all: 64 connections, 120 s a try. Ten tries; between them 1, 2, 4 ... 30 s and a chance part of a second. The
    tenth failure is raised, and the job ends. `--reward-key` picks from an object (`Sample` in `slime/utils/types.py`).
    """

    def __init__(self, rm_url: str, reward_key: str | None = None) -> None:
        self.rm_url, self.reward_key = rm_url, reward_key

    async def __aenter__(self) -> SlimeRm:
        connector = aiohttp.TCPConnector(limit=64)
        self.session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def remote_rm(self, sample: Any, max_retries: int = 10) -> Any:
        """The JSON body of the answer, as it is."""
        body = {"prompt": sample.prompt, "response": sample.response, "label": sample.label}
        for attempt in range(max_retries):
            try:
                async with self.session.post(self.rm_url, json=body) as response:
                    response.raise_for_status()
                    return await response.json()
            except Exception:
                if attempt + 1 >= max_retries:
                    raise
                await asyncio.sleep(min(2**attempt, 30) + random.random())
        raise AssertionError("the last try returns or raises")

    async def rewards(self, samples: Sequence[Any]) -> list[Any]:
        """The rewards of a group, asked for one by one (`batched_async_rm`)."""
        bodies = await asyncio.gather(*(self.remote_rm(sample) for sample in samples))
        return [body if self.reward_key is None else body[self.reward_key] for body in bodies]


class VerlRewardLoop:
    """verl, `verl/experimental/reward_loop/`: a custom reward function under `reward_loop.py` and `reward_manager/naive.py`.

    `custom_reward_function.reward_kwargs` are merged into each call (`verl/trainer/ppo/reward.py`), one sample a call, all of a
    batch at once. An exception is the job's. What the function returns besides the score must have the same keys for all samples.
    """

    def __init__(self, fn: Callable[..., Awaitable[Any]], reward_kwargs: dict[str, Any], router: str | None = None) -> None:
        assert inspect.iscoroutinefunction(fn)

        async def merged(raw: Callable[..., Awaitable[Any]], extra: dict[str, Any], **kwargs: Any) -> Any:
            return await raw(**(kwargs | extra))

        self.compute_score = functools.partial(merged, fn, reward_kwargs)
        self.router = router

    async def run_single(self, item: dict[str, Any], **more: Any) -> dict[str, Any]:
        """One sample's `reward_score` and `reward_extra_info`; `more` is what some managers add (`strict_box_verify` of dapo's)."""
        info = item.get("extra_info", {})
        info |= {"num_turns": item.get("__num_turns__"), "rollout_reward_scores": {}}
        routed = {"reward_router_address": self.router, "reward_model_tokenizer": None} if self.router else {}
        result = await self.compute_score(
            data_source=item["data_source"],
            solution_str=item["response"],
            ground_truth=item["reward_model"]["ground_truth"],
            extra_info=info,
            **routed,
            **more,
        )
        if isinstance(result, dict):
            return {"reward_score": result["score"], "reward_extra_info": dict(result)}
        return {"reward_score": result, "reward_extra_info": {"acc": result}}

    async def compute_rm_score(self, items: Sequence[dict[str, Any]], **more: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """A batch's scores, and an array of each extra, as the trainer puts them beside it."""
        outputs = await asyncio.gather(*(self.run_single(item, **more) for item in items))
        infos = [each["reward_extra_info"] for each in outputs]
        extras = {key: np.array([info[key] for info in infos]) for key in infos[0]}
        return np.array([each["reward_score"] for each in outputs], dtype=np.float32), extras


def responses_object(text: str) -> dict[str, Any]:
    """A response as NeMo Gym passes it on: an object of OpenAI's Responses API, reasoning included."""
    return {
        "id": "resp_1",
        "object": "response",
        "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "answer 99"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text, "annotations": []}]},
        ],
    }
