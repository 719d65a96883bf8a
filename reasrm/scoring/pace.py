"""How long one judgment takes here, learnt from the judgments of this run and said to whoever waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from reasrm.types import Judgment, Options, Pair, PairJudge

SLOW_S = 5.0  # a person who waits for longer wants to know for how long
FORGETTING = 0.8  # the weight of earlier judgments: a run meets easy and hard questions


@dataclass(slots=True)
class Pace:
    """The seconds of one judgment, as a mean in which later judgments weigh more; None before the first."""

    seconds: float | None = None

    def add(self, judgment: Judgment) -> None:
        """Learn from a judgment, unless a cache gave it or it has failed."""
        if judgment.usage.requests and not judgment.cached:
            before = judgment.seconds if self.seconds is None else self.seconds
            self.seconds = FORGETTING * before + (1 - FORGETTING) * judgment.seconds

    @property
    def words(self) -> str:
        """The pace of a slow engine in words; empty for a fast one."""
        return f"one judgment takes about {self.seconds:,.0f} s here" if self.seconds and self.seconds >= SLOW_S else ""


@dataclass(slots=True)
class PacedJudge:
    """A judge whose pace is learnt; `tell` gets it in words after the first judgment, where the engine is slow."""

    inner: PairJudge
    pace: Pace = field(default_factory=Pace)
    tell: Callable[[str], None] = lambda _: None

    async def judge(self, pair: Pair, options: Options) -> Judgment:
        """One judgment of the inner judge."""
        judgment = await self.inner.judge(pair, options)
        first = self.pace.seconds is None
        self.pace.add(judgment)
        if first and self.pace.words:
            self.tell(self.pace.words)
        return judgment
