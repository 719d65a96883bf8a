"""The secret behind the prompts' fences. Gateways that share a cache must share it, or equal pairs would have unequal prompts."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, cast

from reasrm_serving.redis_link import RedisLink

log = logging.getLogger("reasrm.serving")
REDIS_KEY = "reasrm:fence-secret"


async def fence_key(given: str | None, link: RedisLink | None, state_dir: Path) -> bytes:
    """The key that was given; else the one that Redis keeps for all; else the one in a file of this user's, made at first use."""
    text = given or await _of_redis(link)
    if text is None:
        if link is not None:
            log.warning(
                "Redis is away, so the fence secret is this machine's own: until a restart other gateways share no judgments"
            )
        text = _of_file(state_dir / "fence-secret")
    return hashlib.blake2b(text.encode(), digest_size=32, person=b"reasrm-fence").digest()


async def _of_redis(link: RedisLink | None) -> str | None:
    if link is None:
        return None
    await link.ask(lambda redis: cast("Awaitable[Any]", redis.set(REDIS_KEY, secrets.token_hex(32), nx=True)))
    kept = await link.ask(lambda redis: cast("Awaitable[Any]", redis.get(REDIS_KEY)))
    return kept.decode() if kept else None


def _of_file(path: Path) -> str:
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            mine = path.with_name(f"{path.name}.{os.getpid()}")
            mine.touch(mode=0o600)
            mine.write_text(secrets.token_hex(32))
            try:
                os.link(mine, path)  # whole or not at all, and never over another's
            except FileExistsError:
                pass
            finally:
                mine.unlink()
        return path.read_text().strip()
    except OSError as error:
        log.warning("cannot keep the fence secret in %s (%s): this run has one of its own, and its cache ends with it", path, error)
        return secrets.token_hex(32)
