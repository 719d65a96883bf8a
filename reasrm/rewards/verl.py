"""A reward function for verl's reward loop: `custom_reward_function.path=pkg://reasrm.rewards.verl`, `.name=compute_score`.

Bind the gateway with `custom_reward_function.reward_kwargs`: `{url: http://gateway:8900, cohort: 8, run: my-run}`.

verl takes floats only, and an exception ends its job. So a rollout without verdict gets a neutral float, with "judged" 0 beside it.
verl's `remote` manager takes no async functions: give it `compute_score_sync`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from reasrm.errors import ConfigurationError, GatewayError, InputError
from reasrm.rewards.connection import GatewayConnections, ask, ask_and_wait
from reasrm.rewards.groups import GroupOptions, check_group, reason_of, reward_rollout
from reasrm.rewards.texts import prompt_of, response_of
from reasrm.rewards.thinking import Thinking

log = logging.getLogger("reasrm.rewards")
#: Values of `extra_info["split"]`, as verl's own preprocessing writes it, that mark a row of the validation set.
VALIDATION = ("test", "val", "valid", "validation", "dev", "eval")


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
    val_cohort: int = 1,
    run: str = "",
    token: str | None = None,
    reference: bool = False,
    options: Mapping[str, Any] | None = None,
    thinking: Thinking = "strip",
    wait_s: float = 60.0,
    timeout_s: float = 170.0,
    no_verdict: Literal["mean", "error"] = "mean",
    strict_box_verify: bool = False,
) -> dict[str, float]:
    """One rollout's reward within its cohort, as {"score", "judged"}.

    `cohort` is verl's rollout.n. `val_cohort` is its val_kwargs.n, for rows whose `extra_info["split"]` says that they validate: a
    lone one is not judged, and waits for nobody, unless `reference` makes the ground truth an answer to measure from. The prompt is
    `extra_info["prompt"]`, `["raw_prompt"]` or `["question"]` (text or messages). `options` are fields of `POST /v1/rank`;
    `thinking` says whether the policy's thoughts are left out or judged. `strict_box_verify`, which the dapo manager passes, says
    nothing to a judge. verl does not tell a reward function its step; `extra_info["global_step"]` keeps steps apart where the data
    has it.

    Without verdict the score is the mean of the group's judged rewards, so that its advantage is zero; where nobody was judged, or
    the gateway is away or refuses the rollout, 0, the middle of the scale, which the whole group shares. "error" raises
    `GatewayError` instead. Raises `InputError` for settings and rows that lack what is needed, and for a wrong key or address.
    """
    del data_source, reward_model_tokenizer, strict_box_verify
    address = url or (f"http://{reward_router_address}" if reward_router_address else None)
    if address is None or cohort is None:
        why = "compute_score needs url and cohort: set them in custom_reward_function.reward_kwargs"
        raise ConfigurationError(why, field="url")
    if no_verdict not in ("mean", "error"):
        raise ConfigurationError(f'no_verdict must be "mean" or "error", not {no_verdict!r}', field="no_verdict")
    check_group(cohort, "cohort")
    check_group(val_cohort, "val_cohort")
    info = extra_info or {}
    question, begun, _ = prompt_of(_prompt_in(info))
    validates = str(info.get("split")).lower() in VALIDATION
    if validates and val_cohort == 1 and not reference:
        _warn_of_validation(str(info["split"]))
    fields = {
        "cohort": val_cohort if validates else cohort,
        "run": f"{run}/{info.get('global_step', '')}",
        "wait_s": wait_s,
        "reference": response_of(str(ground_truth), thinking=thinking) if reference else None,
    }
    ranked_by, response = GroupOptions.of(options), response_of(solution_str, begun, thinking=thinking)
    rewarded = await ask(
        lambda connections: reward_rollout(connections.judge(address, token, timeout_s), question, response, ranked_by, **fields)
    )
    if rewarded.reward is not None:
        return {"score": rewarded.reward, "judged": 1.0}
    if no_verdict == "error":
        kind = InputError if reason_of(rewarded) == "refused" else GatewayError
        raise kind(f"no verdict for this rollout: {rewarded.no_verdict}")
    return {"score": rewarded.mean or 0.0, "judged": 0.0}


def compute_score_sync(*arguments: Any, **settings: Any) -> dict[str, float]:
    """`compute_score` for managers that take no async functions (`remote`), with the same arguments. Blocks the calling thread."""

    async def score(_: GatewayConnections) -> dict[str, float]:
        return await compute_score(*arguments, **settings)

    return ask_and_wait(score)


@cache
def _warn_of_validation(split: str) -> None:
    log.warning(
        "rows with split=%r count as validation: one rollout per prompt has nothing to be compared with, and gets the score 0; set "
        "reference=True, val_cohort or trainer.val_before_train=False and trainer.test_freq=-1",
        split,
    )


def _prompt_in(info: Mapping[str, Any]) -> Any:
    prompt = next((info[name] for name in ("prompt", "raw_prompt", "question") if info.get(name) is not None), None)
    if prompt is None:
        raise InputError(
            'extra_info holds no "prompt", "raw_prompt" or "question": the judge must see the question', field="extra_info"
        )
    return prompt.tolist() if hasattr(prompt, "tolist") else prompt  # Parquet gives verl arrays
