"""Ranking groups by the judge that every route shares, so that comparisons come from its cache and from equal work in flight."""

from __future__ import annotations

import asyncio
import importlib
import random
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from reasrm.judging.group import Group, RankOptions
from reasrm.judging.ranking import rank
from reasrm.types import Judgment, NoVerdict, Options, Pair, PairJudge, Ranking
from reasrm_serving.engines.pool import EnginePool
from reasrm_serving.http.schemas import RequestEnvelope
from reasrm_serving.judging.engine_judge import ServedPrompts

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 5.0


class RankRequest(Group, RankOptions, RequestEnvelope):
    """A group to rank. `replies` false leaves the judge's texts out of the answer: loops do not read them."""

    replies: Annotated[bool, Field(description="Whether comparisons carry the judge's replies.")] = True

    @property
    def group(self) -> Group:
        """The group proper."""
        return Group.model_construct(**{name: getattr(self, name) for name in Group.model_fields})

    def ranking(self, max_context: int) -> RankOptions:
        """The options proper, for an engine whose context holds `max_context` tokens (0 = unknown)."""
        values: dict[str, Any] = {name: getattr(self, name) for name in RankOptions.model_fields}
        return RankOptions.model_construct(None, **values | {"max_tokens": self.options(max_context).max_tokens})


@dataclass(frozen=True, slots=True)
class Ranker:
    """Ranks groups by `judge`, whose `prompts` say whether it was trained for deliberation reuse."""

    judge: PairJudge
    engines: EnginePool
    prompts: ServedPrompts

    @classmethod
    def warm(cls) -> asyncio.Task[object]:
        """Import scipy in a thread before the first fit: on a busy machine that takes seconds."""
        return asyncio.create_task(asyncio.to_thread(importlib.import_module, "scipy.optimize"))

    @property
    def reuse(self) -> bool:
        """Whether the served judge was trained for deliberation reuse; False before an engine has said what it serves."""
        known = self.engines.known
        return known is not None and self.prompts.of(known.model).reuse

    async def rank(self, group: Group, options: RankOptions, within_s: float) -> Ranking:
        """Rank `group` within `within_s` seconds; a comparison that failed for a passing reason is repeated until then."""
        deadline = asyncio.get_running_loop().time() + within_s
        return await rank(group, options, RetryingJudge(self.judge, deadline), reuse=self.reuse, deadline=deadline)


@dataclass(frozen=True, slots=True)
class RetryingJudge:
    """A `PairJudge` that retries with growing pauses while the engine is away, because rewards need all comparisons of a group."""

    judge_once: PairJudge
    deadline: float

    async def judge(self, pair: Pair, options: Options) -> Judgment:
        """Judge `pair`. It returns a passing failure only if the deadline leaves no time for another try."""
        pause = FIRST_PAUSE_S
        while True:
            judgment = await self.judge_once.judge(pair, options)
            wait = pause * random.uniform(0.5, 1.5)
            late = asyncio.get_running_loop().time() + wait >= self.deadline
            if not isinstance(judgment.outcome, NoVerdict) or judgment.outcome.reason != "engine_failed" or late:
                return judgment
            await asyncio.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE_S)
