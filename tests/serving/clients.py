"""How RL frameworks request rewards, as their own code does: payloads, timeouts, retries, and their use of the response."""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import numpy as np


class OpenRlhfExecutor:
    """OpenRLHF 0.11.2, `openrlhf/utils/agent.py`: `SingleTurnAgentExecutor` with `--reward.remote_url`.

    One query per call; of several addresses each call takes the next one. A session of 180 s per try, five tries, a second between
    them, after any failure; then the sample has no reward.
    """

    def __init__(self, reward_endpoints: str | Sequence[str]) -> None:
        self.reward_endpoints = [reward_endpoints] if isinstance(reward_endpoints, str) else list(reward_endpoints)
        self._next_endpoint = itertools.cycle(self.reward_endpoints)

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
                "scores": info.get("rewards") if info.get("scores") is None else info["scores"],
                "extra_logs": info.get("extra_logs") or {},
            }
        return output

    async def fetch(self, queries: list[str], prompts: list[str], labels: list[Any]) -> list[dict[str, Any]]:
        """The responses of the addresses to their parts; an empty part is not sent."""
        size = -(-len(queries) // len(self.reward_endpoints))
        parts = [slice(start, start + size) for start in range(0, len(queries), max(1, size))]
        bodies = [{"query": queries[part], "prompts": prompts[part], "labels": labels[part]} for part in parts]
        return list(await asyncio.gather(*(self._post(next(self._next_endpoint), body) for body in bodies)))

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

    logs = {name: torch.tensor([output["extra_logs"][name] for output in outputs]) for name in outputs[0]["extra_logs"]}
    return {
        "rewards": torch.tensor([output["reward"] for output in outputs]),
        "scores": torch.tensor([output["scores"] for output in outputs]),
    } | logs


def openrlhf_keeps(samples: Sequence[dict[str, Any]], bounds: tuple[float, float] = (0.0, 1.0)) -> bool:
    """Whether dynamic filtering keeps a prompt's samples (`SamplesGenerator._generate_vllm`): by the mean of their scores."""
    scores = [sample["scores"][0] for sample in samples]
    return bounds[0] < sum(scores) / len(scores) < bounds[1]


class SlimeRm:
    """slime, `slime/rollout/rm_hub/__init__.py`: `remote_rm`, with `--rm-type remote_rm --rm-url ...`.

    One session for all: 64 connections, 120 s per try. Ten tries; between them 1, 2, 4 ... 30 s and a chance part of a second. The
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
        """The rewards of a group, by one request per sample (`batched_async_rm`)."""
        bodies = await asyncio.gather(*(self.remote_rm(sample) for sample in samples))
        return [body if self.reward_key is None else body[self.reward_key] for body in bodies]


class VerlRewardLoop:
    """verl, `verl/experimental/reward_loop/`: a custom reward function under `reward_loop.py` and `reward_manager/naive.py`.

    `custom_reward_function.reward_kwargs` are merged into each call (`verl/trainer/ppo/reward.py`), one sample per call, all of a
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

    async def limited(
        self, items: Sequence[dict[str, Any]], max_concurrent: int = 1, timeout_s: float = 300.0
    ) -> list[dict[str, Any]]:
        """A batch under the `rate_limited` manager: so many at once (one by default), and a failure is 0."""
        semaphore = asyncio.Semaphore(max_concurrent)

        async def one(item: dict[str, Any]) -> dict[str, Any]:
            async with semaphore:
                try:
                    return await asyncio.wait_for(self.run_single(item), timeout_s)
                except Exception as error:  # noqa: BLE001 - as theirs
                    return {"reward_score": 0.0, "reward_extra_info": {"error": str(error), "acc": 0.0}}

        return await asyncio.gather(*(one(item) for item in items))

    async def compute_rm_score(self, items: Sequence[dict[str, Any]], **more: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """A batch's scores, and an array of each extra, as the trainer puts them beside it."""
        outputs = await asyncio.gather(*(self.run_single(item, **more) for item in items))
        infos = [output["reward_extra_info"] for output in outputs]
        extras = {key: np.array([info[key] for info in infos]) for key in infos[0]}
        return np.array([output["reward_score"] for output in outputs], dtype=np.float32), extras


class GymAgent:
    """NeMo Gym 07d6b0d, `responses_api_agents/simple_agent/app.py`: the stock agent, with the gateway as its resources server.

    It knows a host and a port. It repeats a request only when a connection breaks; a status that is an error ends the rollout. With
    observability on, `ServerClient` puts `/ng-rollout/ID` in front of the paths of resources servers.
    """

    def __init__(self, base_url: str, rollout_id: str | None = None) -> None:
        self.base_url, self.prefix = base_url, "" if rollout_id is None else f"/ng-rollout/{rollout_id}"

    async def post(self, path: str, body: Any, cookies: Any = None) -> Any:
        """The JSON that the gateway answers; raises for an error."""
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.post(f"{self.base_url}{self.prefix}{path}", json=body, cookies=cookies) as response:
                        response.raise_for_status()
                        return await response.json()
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                    await asyncio.sleep(0.5)

    async def run(self, row: dict[str, Any], text: str) -> dict[str, Any]:
        """A rollout of a task's `row`, whose model wrote `text`: the verified result."""
        assert await self.post("/seed_session", row) == {}
        result = await self.post("/verify", row | {"response": responses_object(text)})
        assert result["responses_create_params"] and result["response"] and "reward" in result
        return result


async def genrm_comparison(
    base_url: str, question: str, first: str, second: str, principle: str | None = None
) -> tuple[float, ...]:
    """NeMo Gym's `GenRMCompareResourcesServer._run_single_comparison`, with the gateway as its GenRM model.

    It reads no status: a response without scores is requested again three times, 0.2 s apart, and then is neutral.
    """
    body = {
        "input": [{"role": "user", "content": question, "type": "message"}],
        "metadata": {"response_1": first, "response_2": second} | ({} if principle is None else {"principle": principle}),
        "max_output_tokens": 1024,
        "temperature": 0.6,
    }
    async with aiohttp.ClientSession() as session:
        for _ in range(4):
            async with session.post(f"{base_url}/v1/responses", json=body) as response:
                raw = await response.json()
            messages = [item for item in raw.get("output", []) if item["type"] == "message"]
            text = "".join(part["text"] for item in messages for part in item["content"] if part["type"] == "output_text")
            try:
                scores = json.loads(text)
                return float(scores["score_1"]), float(scores["score_2"]), float(scores["ranking"])
            except (ValueError, TypeError, KeyError):
                await asyncio.sleep(0.2)
    return 3.0, 3.0, 3.5


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
