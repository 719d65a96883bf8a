"""A reward function for verl's reward loop: `custom_reward_function.path=pkg://reasrm.rewards.verl`, `.name=compute_score`.

Bind the gateway with `custom_reward_function.reward_kwargs`: `{url: http://gateway:8900, cohort: 8, run: my-run}`.

verl takes floats only, and an exception ends its job. So a rollout without verdict gets a neutral float, with "judged" 0 beside it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal

from reasrm.errors import ConfigurationError, GatewayError, InputError
from reasrm.rewards.rollouts import judge_at, question_of, response_of

log = logging.getLogger("reasrm.rewards")


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    reward_router_address: str | None = None,
    reward_model_tokenizer: Any = None,
    *,
    url: str | None = None,
    cohort: int | None = None,
    run: str = "",
    token: str | None = None,
    reference: bool = False,
    wait_s: float = 60.0,
    timeout_s: float = 170.0,
    no_verdict: Literal["mean", "error"] = "mean",
    strict_box_verify: bool = False,
) -> dict[str, float]:
    """One rollout's reward within its cohort of `cohort` (verl's rollout.n), as {"score", "judged"}.

    The prompt is `extra_info["prompt"]`, `["raw_prompt"]` or `["question"]` (text or messages); `extra_info["global_step"]`, if
    there, keeps steps apart. `reference` judges against `ground_truth`; `strict_box_verify`, which the dapo manager passes, says
    nothing to a judge. No verdict is the mean of the group's judged rewards, so that its advantage is nought; where nobody was
    judged, or the gateway is away or refuses the rollout, 0, the middle of the scale, which the whole group shares. "error" raises
    `GatewayError`, or `InputError` for a refusal, instead. Raises `InputError` for settings and rows that lack what is needed.
    """
    del data_source, reward_model_tokenizer, strict_box_verify
    address = url or (f"http://{reward_router_address}" if reward_router_address else None)
    if address is None or cohort is None:
        raise InputError("compute_score needs url and cohort: set them in custom_reward_function.reward_kwargs", field="url")
    if no_verdict not in ("mean", "error"):
        raise InputError(f'no_verdict must be "mean" or "error", not {no_verdict!r}', field="no_verdict")
    info = extra_info or {}
    prompt = next((info[name] for name in ("prompt", "raw_prompt", "question") if info.get(name) is not None), None)
    if prompt is None:
        raise InputError(
            'extra_info holds no "prompt", "raw_prompt" or "question": the judge must see the question', field="extra_info"
        )
    judge = judge_at(address, token, timeout_s)
    try:
        found = await judge.reward(
            question_of(prompt),
            response_of(solution_str),
            cohort=cohort,
            run=f"{run}/{info.get('global_step', '')}",
            wait_s=wait_s,
            reference=str(ground_truth) if reference else None,
        )
    except ConfigurationError:
        raise
    except (GatewayError, InputError) as error:
        if no_verdict == "error":
            raise
        log.warning("a rollout has no reward: %s", error)
        return {"score": 0.0, "judged": 0.0}
    if found.reward is not None:
        return {"score": found.reward, "judged": 1.0}
    if no_verdict == "error":
        raise GatewayError(f"no verdict for this rollout: {found.no_verdict}")
    return {"score": found.mean or 0.0, "judged": 0.0}
