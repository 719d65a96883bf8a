"""How long the client retries a gateway that is busy or away."""

from __future__ import annotations

import random
import time

from reasrm.errors import GatewayError, GatewayUnreachable


class Patience:
    """The retry hook of `stamina`: called with an error, it returns the seconds until the next try, or False for none.

    A busy gateway (429) gets `busy_retries` retries, each after the time that it states. A gateway that is away (unreachable, or
    502 and 503) is retried for `away_s` seconds after the first such error. A timeout does not count as away.
    """

    def __init__(self, busy_retries: int, away_s: float) -> None:
        self._busy_left, self._away_s = busy_retries, away_s
        self._until: float | None = None

    def __call__(self, error: Exception) -> bool | float:
        """The seconds until the next try; False where there is none."""
        if not isinstance(error, GatewayError):
            return False
        if error.status == 429:
            self._busy_left -= 1
            after = 1.0 if error.retry_after_s is None else error.retry_after_s
            return after * random.uniform(1.0, 1.5) if self._busy_left >= 0 else False
        if not isinstance(error, GatewayUnreachable) and error.status not in (502, 503):
            return False
        now, pause = time.monotonic(), random.uniform(0.5, 1.5)
        self._until = self._until or now + self._away_s
        return pause if now + pause <= self._until else False
