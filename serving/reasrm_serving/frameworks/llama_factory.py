"""LLaMA-Factory's reward API (`reward_model_type: api`) is not served; those who ask are told what to use.

Its PPO trainer posts `{"model", "messages": [text, ...]}`, each text a whole conversation as the chat template wrote it, and reads
`scores`: one absolute number per text. It sends one response per prompt and no reference answer, so a judge that compares has
nothing to compare a response with, and every number would be made up.
"""

from __future__ import annotations

import logging

from fastapi import APIRouter

from reasrm_serving.errors import Problem

router = APIRouter(tags=["RL frameworks"])
log = logging.getLogger("reasrm.serving")


@router.post("/v1/score/evaluation", include_in_schema=False)
async def score_evaluation() -> None:
    """Refuse, with what to use. The log says it too, since LLaMA-Factory shows only that the answer has no `scores`."""
    why = (
        "LLaMA-Factory's reward API wants an absolute score for one response, and a pairwise judge has none without something to "
        "compare with: train with TRL, ms-swift, OpenRLHF, slime or verl, which sample groups, or rate preference pairs for DPO by "
        "`reasrm score`"
    )
    log.warning("%s", why)
    raise Problem(501, "no_absolute_score", why)
