"""The secret behind the fences: given by the environment, or made once per installation."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def fence_key() -> bytes:
    """$REASRM_FENCE_SECRET, or the content of the state folder's `fence.key`, made (readable by its owner only) where it lacks."""
    if given := os.environ.get("REASRM_FENCE_SECRET"):
        return given.encode()
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    path = home / "reasrm" / "fence.key"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"fence.key.{os.getpid()}.{secrets.token_hex(4)}")
    fresh.touch(mode=0o600)
    fresh.write_text(secrets.token_hex(32))
    try:
        os.link(fresh, path)  # of several processes that start at once, one's key stands
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
    return path.read_bytes()
