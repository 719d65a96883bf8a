"""Comparisons that begin while a cohort still gathers: those that its ranking will need in any case.

Their judgments wait in the cache, where the ranking finds them. So its rewards are the same with them and without, and each of them
is one of the ranking's own comparisons, not one more. (One is wasted only if the cohort ends incomplete at its deadline.)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from reasrm.errors import EngineError, InputError
from reasrm.judging.group import Contest, key_of
from reasrm.judging.ranking import surely_meet
from reasrm.types import PairJudge
from reasrm_serving.cohorts.result import Terms, Text


class EarlyComparisons:
    """The early comparisons of a cohort, as one gateway makes them; `begin` runs one in the background.

    If two responses came to different gateways, only one gateway begins their comparison; a hash of the texts decides which.
    """

    def __init__(self, judge: PairJudge, terms: Terms, begin: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self._judge, self._terms, self._begin = judge, terms, begin
        self._most = terms.size + (terms.reference is not None)
        self._met: dict[int, tuple[Text, bool]] = {}

    def add(self, response: Text, *, here: bool) -> None:
        """A response has come, `here` or to another gateway: begin the comparisons that are sure to be needed."""
        key = key_of(response)
        if key in self._met:
            return
        for other_key, (other, other_here) in self._met.items():
            ours = (here and other_here) or (here, other_here) == _owner(key, other_key)
            if ours and surely_meet(self._terms.options, key, other_key, self._most):
                self._begin(self._compare(response, other))
        self._met[key] = response, here
        reference = self._terms.reference
        if here and reference is not None and self._meets_reference(key, key_of(reference)):
            self._begin(self._compare(response, reference))

    def _meets_reference(self, key: int, reference: int) -> bool:
        options = self._terms.options
        pivot = options.method == "pivot" and not options.budget and key != reference
        return pivot or surely_meet(options, key, reference, self._most)

    async def _compare(self, a: Text, b: Text) -> None:
        terms = self._terms
        i, j = Contest(n=2, keys=(key_of(a), key_of(b))).fair(0, 1)
        with contextlib.suppress(EngineError, InputError, TimeoutError):  # the ranking repeats it and reports a failure
            async with asyncio.timeout(terms.wait_s + terms.judge_s):
                await self._judge.judge(terms.group((a, b)).pair(i, j), terms.options.one(terms.options.deliberation))


def _owner(a: int, b: int) -> tuple[bool, bool]:
    """(whether the gateway of `a` begins the comparison, whether that of `b` does): drawn by the keys, each half of the time."""
    first = ((a ^ b) & 2 == 0) == (a < b)
    return first, not first
