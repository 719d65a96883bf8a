"""GRPO that logs how its time is spent."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from trl import GRPOTrainer


class TimedTrainer(GRPOTrainer):
    """GRPO that logs the seconds of a step: `sampling`, `weights` (to the sampler), `rewards`, and the rest as `training`."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._since = 0.0

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Count the time of the `with` towards `part`, except for what is counted towards another part inside it."""
        started, others = time.perf_counter(), sum(self._seconds.values())
        yield
        self._seconds[part] += time.perf_counter() - started - (sum(self._seconds.values()) - others)

    def training_step(self, *args: Any, **settings: Any) -> torch.Tensor:
        if not self._since:  # the time before the first step belongs to no step
            self._seconds.clear()
            self._since = time.perf_counter()
        return super().training_step(*args, **settings)

    def _generate(self, prompts: list[Any]) -> Any:
        with self.timed("sampling"):
            return super()._generate(prompts)

    def _calculate_rewards(self, *args: Any) -> torch.Tensor:
        with self.timed("rewards"):
            return super()._calculate_rewards(*args)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self._seconds:
            now = time.perf_counter()
            parts = {**self._seconds, "training": now - self._since - sum(self._seconds.values())}
            logs |= {f"seconds/{part}": spent for part, spent in parts.items()}
            self._seconds.clear()
            self._since = now
        super().log(logs, start_time)
