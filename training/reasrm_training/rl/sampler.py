"""Which sampler writes the replies of RL: TRL's own generate, TRL's vLLM, or an SGLang server with the policy's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object

from reasrm_training.config.recipe import Recipe
from reasrm_training.model.processes import processes
from reasrm_training.model.sglang_process import started
from reasrm_training.model.sglang_server import SglangServer


@contextmanager
def serving(recipe: Recipe, model: Path | None, folder: Path, *, together: bool = True) -> Iterator[SglangServer | None]:
    """The SGLang that this process samples with: the recipe's, or one that runs for the length of the `with`. None for others.

    One starts on each node, with the weights of `model` (None: the recipe's) and an engine on each of the node's sampling
    GPUs. Its log goes into `folder`. Every process must call this; without `together` only the caller gets a server.
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
    state = processes(recipe)
    if not together or state.is_local_main_process:
        log = folder / ("sglang.log" if state.is_main_process else f"sglang-{state.process_index}.log")
        own: Any = started(rollouts.server, str(model or recipe.model.path), log, *_flags(recipe))
    else:
        own = nullcontext()
    with own as server:
        if together:  # the first process of each node starts a server, so this node's is the nearest one before this process
            urls = gather_object([server.url if server else None])
            server = server or SglangServer(next(url for url in reversed(urls[: state.process_index]) if url))
        yield server


def _flags(recipe: Recipe) -> list[str]:
    """The flags of an SGLang that a run starts, besides its model."""
    rollouts = recipe.rollouts
    flags = ["--tp-size", str(rollouts.tensor_parallel), "--mem-fraction-static", str(rollouts.memory_fraction)]
    if recipe.sampling_gpus > rollouts.tensor_parallel:
        flags += ["--dp-size", str(recipe.sampling_gpus // rollouts.tensor_parallel)]
    if recipe.rlvr:  # else SGLang may sample in another precision than the trainer's: float16 for a folder in float32
        flags += ["--dtype", "bfloat16" if recipe.rlvr.precision == "bf16" else "float32"]
    if rollouts.gpus:
        flags += ["--base-gpu-id", str(recipe.cluster.gpus - rollouts.gpus)]
    return flags


def trl_arguments(recipe: Recipe) -> dict[str, Any]:
    """The arguments of GRPOConfig about the sampler. The correction's options are named after vLLM and serve SGLang too."""
    rollouts = recipe.rollouts
    correction: dict[str, Any] = {
        "vllm_importance_sampling_correction": rollouts.importance_cap is not None,
        "vllm_importance_sampling_mode": "token_truncate",
        "vllm_importance_sampling_clip_max": rollouts.importance_cap or 1.0,
    }
    if rollouts.backend != "vllm":
        return correction
    where = {"vllm_mode": "server", "vllm_server_base_url": rollouts.url} if rollouts.url else {"vllm_mode": "colocate"}
    return correction | {
        "use_vllm": True,
        "vllm_gpu_memory_utilization": rollouts.memory_fraction,
        "vllm_tensor_parallel_size": rollouts.tensor_parallel,
        **where,
    }
