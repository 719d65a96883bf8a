"""The money and tokens that may still be spent on the oracles. A request starts only if its greatest possible cost fits in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from reasrm.types import Ask
from reasrm_training.config.endpoints import Oracle
from reasrm_training.oracle.examiner import Pass
from reasrm_training.oracle.journal import OracleJournal, Spend, price, tokens_in


class OracleBudget:
    """The recipe's caps, less the journal's spending and the greatest possible cost of the requests under way."""

    def __init__(self, oracle: Oracle, journal: OracleJournal) -> None:
        self._oracle, self._journal = oracle, journal
        self._under_way = Spend()
        self._settled = asyncio.Condition()

    def take(self, step: Pass, ask: Ask) -> bool:
        """Reserve the greatest possible cost of `ask`. False where the budget does not cover it."""
        at_most = self._at_most(step, ask)
        if fits := self._fits(at_most):
            self._under_way += at_most
        return fits

    @asynccontextmanager
    async def room(self, step: Pass, ask: Ask) -> AsyncGenerator[bool]:
        """Reserve the greatest possible cost of `ask` for the length of the `with`; False where the budget does not cover it.

        It waits for replies under way, as most cost less than was reserved for them.
        """
        at_most = self._at_most(step, ask)
        async with self._settled:
            await self._settled.wait_for(lambda: self._fits(at_most) or not self._under_way.requests)
            taken = self.take(step, ask)
        try:
            yield taken
        finally:
            if taken:
                self._under_way -= at_most
                async with self._settled:
                    self._settled.notify_all()

    def _at_most(self, step: Pass, ask: Ask) -> Spend:
        endpoint = self._oracle.second if step == "second" and self._oracle.second else self._oracle.first
        return price(endpoint, tokens_in(*(message.content for message in ask.messages)), ask.max_tokens)

    def _fits(self, more: Spend) -> bool:
        oracle, total = self._oracle, self._journal.spend + self._under_way + more
        within_tokens = oracle.max_tokens_total is None or total.tokens <= oracle.max_tokens_total
        return within_tokens and (oracle.max_usd is None or total.usd <= oracle.max_usd)
