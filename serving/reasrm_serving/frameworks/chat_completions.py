"""`POST /v1/chat/completions` is not served; clients that look for it are told what to use."""

from __future__ import annotations

from fastapi import APIRouter

from reasrm_serving.errors import Problem

router = APIRouter(tags=["RL frameworks"])


@router.post("/v1/chat/completions", include_in_schema=False)
async def chat_completions() -> None:
    """Refuse, with the routes that judge."""
    why = (
        "the gateway serves judgments and not chat completions: POST /v1/judge takes a pair, /v1/rank a group, /v1/reward one "
        "rollout, and /v1/responses a pair as NeMo Gym's GenRM; for the judge's own completions ask its engine"
    )
    raise Problem(404, "not_a_chat_model", why)
