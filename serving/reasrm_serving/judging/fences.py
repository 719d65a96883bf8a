"""The secret behind the prompts' fences. Gateways that share a cache must share it, or equal pairs would have unequal prompts."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, cast

from reasrm.prompts.secret import key_of_secret, stored_secret
from reasrm_serving.redis_link import RedisLink

log = logging.getLogger("reasrm.serving")
REDIS_KEY = "reasrm:fence-secret"


async def fence_key(given: str | None, link: RedisLink | None, state_dir: Path) -> bytes:
    """The key of the settings, else the one that Redis keeps for all gateways, else the one in this user's file."""
    text = given or await _of_redis(link)
    if text is None:
        if link is not None:
            log.warning(
                "Redis is away, so the fence secret is this machine's own: until a restart other gateways share no judgments"
            )
        text = stored_secret(state_dir)
    return key_of_secret(text)


async def _of_redis(link: RedisLink | None) -> str | None:
    if link is None:
        return None
    await link.ask(lambda redis: cast("Awaitable[Any]", redis.set(REDIS_KEY, secrets.token_hex(32), nx=True)))
    kept = await link.ask(lambda redis: cast("Awaitable[Any]", redis.get(REDIS_KEY)))
    return kept.decode() if kept else None
