"""How a closed cohort gets its rewards: ranked as a group, or against a pivot where there is one response alone."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable

from cachetools import LRUCache

from reasrm.judging.group import Totals, key_of
from reasrm.types import TRANSIENT
from reasrm_serving.cohorts.result import Pivot, Result, Reward, Terms, Text, failure_in, result_of, unpack_text, why_none
from reasrm_serving.cohorts.store import key_in
from reasrm_serving.judging.ranking import Ranker

log = logging.getLogger("reasrm.serving")


class CohortRanker:
    """Ranks cohorts. `count` is called with how each ended: "full", "partial" (at its deadline) or "lone" (one response)."""

    def __init__(self, ranker: Ranker, count: Callable[[str], None]) -> None:
        self._ranker, self._count = ranker, count
        self._warned: LRUCache[tuple[str, str], bool] = LRUCache(1000)

    async def rank(self, terms: Terms, texts: dict[str, bytes], last: Pivot | None, within_s: float) -> Result:
        """The result of a cohort whose `texts` are given by token. `last` is the pivot of the last cohort of this name.

        It depends on the texts alone, and not on the order or the way in which they came.
        """
        counts = Counter(key_in(token) for token in texts)
        by_key = {key_in(token): text for token, text in texts.items()}
        keys = sorted(by_key)
        responses = tuple(unpack_text(by_key[key]) for key in keys)
        self._note_end(terms, len(texts))
        if len(texts) == 1 < terms.size and terms.reference is None:
            return await self._lone(terms, keys[0], responses[0], last, within_s)
        ranking = await self._ranker.rank(terms.group(responses), terms.options, within_s)
        return result_of(keys, responses, ranking, [counts[key] for key in keys])

    async def against(self, terms: Terms, pivot: Pivot, response: Text, within_s: float) -> Reward:
        """The reward of `response` by its difference from the pivot, read both ways round."""
        if pivot.key == f"{key_of(response):016x}":
            return Reward(pivot.value, reason="alone" if pivot.value is None else None, mean=pivot.mean)
        raw = terms.options.model_copy(update={"method": "pivot", "orders": "both", "scale": "raw"})
        ranking = await self._ranker.rank(terms.group((response,), pivot.text), raw, within_s)
        gap, stderr, totals = ranking.rewards[0], ranking.standings[0].stderr, Totals.of(ranking)
        if gap is None or failure_in(ranking):
            return Reward(None, reason=failure_in(ranking) or why_none(ranking, 0), mean=pivot.mean, totals=totals)
        zero = pivot.value or 0.0
        if terms.options.scale == "raw":
            return Reward(zero + gap, stderr, mean=pivot.mean, totals=totals)
        value = math.tanh(math.atanh(zero) + gap / 2.0)
        return Reward(value, (stderr or 0.0) * (1.0 - value * value) / 2.0, mean=pivot.mean, totals=totals)

    async def _lone(self, terms: Terms, key: str, response: Text, last: Pivot | None, within_s: float) -> Result:
        """A lone response is judged against the last pivot; without one, it becomes the pivot of late rollouts."""
        if last is None:
            return Result(pivot=Pivot(key, response, None))
        reward = await self.against(terms, last, response, within_s)
        return Result(failure=reward) if reward.reason in TRANSIENT else Result({key: reward}, last)

    def _note_end(self, terms: Terms, came: int) -> None:
        """Count the end of a cohort; the first one of a run that was not full is logged with advice."""
        alone = came == 1 < terms.size and terms.reference is None
        end = "full" if came >= terms.size else "lone" if alone else "partial"
        self._count(end)
        if end == "full" or (terms.run, end) in self._warned:
            return
        self._warned[terms.run, end] = True
        log.warning(
            "run %r: %d of the %d rollouts of a prompt had come within %.0f s, and were %s. Is cohort=%d the number of samples per "
            "prompt, do all callers give the same run, do all gateways share one Redis, and is wait long enough? "
            "(This is logged once per run; reasrm_cohorts_total counts all.)",
            terms.run.rpartition("\0")[2],
            came,
            terms.size,
            terms.wait_s,
            "judged alone, which is no group reward" if alone else "ranked without the others",
            terms.size,
        )
