"""`POST /v1/chat/completions` is not served; the answer names the routes to use instead."""

from __future__ import annotations

from fastapi import APIRouter

from reasrm_serving.errors import Problem

router = APIRouter(tags=["RL frameworks"])


@router.post("/v1/chat/completions", include_in_schema=False)
async def chat_completions() -> None:
    """Refuse, and name the routes that judge."""
    why = (
        "the gateway serves judgments and not chat completions: POST /v1/judge takes a pair, /v1/rank a group, /v1/reward one "
        "rollout, and /v1/responses a pair as NeMo Gym's GenRM; for the judge's own completions ask its engine"
    )
    raise Problem(404, "not_a_chat_model", why)
