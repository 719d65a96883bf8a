"""The secret behind the fences: given by the environment, or made once per user and kept in a file.

The gateway uses the same derivation and the same file, so that a library and a gateway with one secret write one fence.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from functools import lru_cache
from pathlib import Path

#: The file in the state folder that keeps the generated secret.
SECRET_FILE = "fence-secret"
log = logging.getLogger("reasrm.prompts")


def fence_key() -> bytes:
    """The key of `$REASRM_FENCE_SECRET`, of the file `$REASRM_FENCE_SECRET_FILE`, or of the secret that the state folder keeps.

    Raises `OSError` where the file that the environment names cannot be read.
    """
    if secret := os.environ.get("REASRM_FENCE_SECRET"):
        return key_of_secret(secret)
    if file := os.environ.get("REASRM_FENCE_SECRET_FILE"):
        return key_of_secret(Path(file).read_text())
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return key_of_secret(stored_secret(home / "reasrm"))


def key_of_secret(secret: str) -> bytes:
    """The 32 bytes that key the fences of `secret`, without the white space around it."""
    return hashlib.blake2b(secret.strip().encode(), digest_size=32, person=b"reasrm-fence").digest()


def stored_secret(folder: Path) -> str:
    """The secret in `folder`, made at the first use and readable by its owner only.

    Where the folder cannot be written, this process makes its own and a warning says so.
    """
    path = folder / SECRET_FILE
    try:
        if not path.exists():
            _write_once(path, secrets.token_hex(32))
        return path.read_text().strip()
    except OSError as error:
        log.warning(
            "cannot keep the fence secret in %s (%s): this process makes its own, so judgments cached now are not found later",
            path,
            error,
        )
        return _own_secret()


@lru_cache(maxsize=1)
def _own_secret() -> str:
    """The secret of this process, where nothing can be kept."""
    return secrets.token_hex(32)


def _write_once(path: Path, text: str) -> None:
    """Write `text` to `path` in one step, unless another process was first: a hard link never replaces a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    draft.touch(mode=0o600)
    try:
        draft.write_text(text)
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
