"""The pair judge that OnlineDPO-style code needs, as TRL had it before 1.1."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from typing import Any

from reasrm.client import SyncJudge, checked
from reasrm.errors import GatewayError
from reasrm.rewards.rollouts import patient, question_of, response_of
from reasrm.types import Pair

log = logging.getLogger("reasrm.rewards")
#: (index of the winner as shown straight, as shown swapped)
_WINNER = {"A": (0, 1), "B": (1, 0), None: (-1, -1)}


class GatewayPairJudge:
    """`judge(prompts, completions, shuffle_order)` over a gateway. Can be pickled; connects when it is first asked."""

    def __init__(
        self, url: str, *, token: str | None = None, timeout_s: float = 300.0, options: Mapping[str, Any] | None = None
    ) -> None:
        self._settings: dict[str, Any] = {"url": url} | patient(token, timeout_s)
        self._options = dict(options or {})
        self._judge: SyncJudge | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_judge": None}

    def close(self) -> None:
        """Close the connections; asking again opens new ones."""
        if self._judge is not None:
            self._judge.close()
            self._judge = None

    def judge(self, prompts: Sequence[Any], completions: Sequence[Sequence[Any]], shuffle_order: bool = True) -> list[int]:
        """For each prompt the index (0 or 1) of its better completion, -1 where there is no verdict.

        `shuffle_order` shows half of the pairs swapped and turns their verdicts back; -1 stays -1. A gateway that is away gives -1,
        once it was waited for.
        Raises `InputError` for a prompt or completion that is none.
        """
        swapped = [shuffle_order and random.random() < 0.5 for _ in prompts]
        shown = [
            checked(Pair.of, question_of(prompt), *(response_of(each) for each in (reversed(pair) if swap else pair)))
            for prompt, pair, swap in zip(prompts, completions, swapped, strict=True)
        ]
        if self._judge is None:
            self._judge = SyncJudge(**self._settings)
        try:
            winners = [judgment.winner for judgment in self._judge.pairs(shown, **self._options)]
        except GatewayError as error:
            log.warning("%d pairs have no verdict: %s", len(shown), error)
            winners = [None] * len(shown)
        return [_WINNER[winner][swap] for winner, swap in zip(winners, swapped, strict=True)]
