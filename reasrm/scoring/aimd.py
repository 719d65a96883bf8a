"""Additive increase, multiplicative decrease: bounds the requests in flight by the throughput of the last round."""

from __future__ import annotations

LOWEST, HIGHEST = 1.0, 1024.0
GAIN = 1.02  # a smaller gain of throughput is noise
BACKOFF = 0.7
OVERRUN = 4.0  # each attempt costs a whole timeout, so few attempts must lead down to one request at a time
FLAT_ROUNDS = 2  # rounds without a gain that end the doubling


class Aimd:
    """A bound on requests in flight that finds the knee of the engine's throughput and stays near it.

    It doubles per round while throughput grows, then rises by one per round, to `highest` at most. It falls to `BACKOFF` of itself
    when the engine refuses, to a quarter when answers come too late, and back to the best round's bound when answers take twice as
    long as then without more throughput.
    """

    def __init__(self, start: float) -> None:
        self.limit = start
        self.highest = HIGHEST
        self._doubling = True
        self._flat = 0
        self._best_throughput = self._best_latency = 0.0
        self._best_limit = start

    def refused(self) -> None:
        """The engine had no room for the last round."""
        self._doubling = False
        self.limit = max(LOWEST, self.limit * BACKOFF)

    def overrun(self) -> None:
        """Answers came too late, so the engine was sent far too much."""
        self._doubling = False
        self.limit = max(LOWEST, self.limit / OVERRUN)

    def answered(self, throughput: float, latency: float) -> None:
        """A round succeeded, with its answers per second and mean seconds per answer."""
        if throughput > self._best_throughput * GAIN:
            self._best_throughput, self._best_limit, self._best_latency = throughput, self.limit, latency
            self._flat = 0
            self.limit = self.limit * 2 if self._doubling else self.limit + 1
        else:
            self._flat += 1
            self._doubling = self._doubling and self._flat < FLAT_ROUNDS
            too_many = not self._doubling and latency > 2 * self._best_latency and self.limit > self._best_limit
            self.limit = max(self._best_limit, self.limit * BACKOFF) if too_many else self.limit + 1
        self.limit = min(self.highest, self.limit)
