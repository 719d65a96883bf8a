"""The prompt pack that a gateway serves: the operator's, or the one that fits the served model."""

from __future__ import annotations

import hashlib
import logging

from reasrm.prompts import Pack, load_pack
from reasrm.prompts.choice import pack_for

log = logging.getLogger("reasrm.serving")


class ServedPrompts:
    """The pack for each model that the engines serve. `key` is the secret behind its fences."""

    def __init__(self, given: Pack | None, key: bytes) -> None:
        self.given, self.key = given, key
        self._secret_id = hashlib.blake2b(key, digest_size=8).hexdigest()
        self._chosen: dict[str, Pack] = {}

    def of(self, model: str) -> Pack:
        """The pack for a model; what was chosen is logged once."""
        if self.given is not None:
            return self.given
        if model not in self._chosen:
            if len(self._chosen) > 100:
                self._chosen.clear()
            pack, why = pack_for(model)
            self._chosen[model] = load_pack(pack)
            log.info("%s is judged with the prompts %s: %s (--prompts chooses others)", model, pack, why)
        return self._chosen[model]

    def identity(self, model: str) -> tuple[str, str]:
        """What identifies the prompts in a key: the pack's digest, and the fences' secret where it has any."""
        pack = self.of(model)
        return pack.digest, self._secret_id if pack.fenced else ""
