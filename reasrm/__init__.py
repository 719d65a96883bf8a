"""reasrm: reasoning reward models, from preference data to a judge that RL loops can trust.

    from reasrm import Judge

    async with Judge("http://localhost:8900") as judge:
        judgment = await judge.pair("What is 2 + 3?", "5", "6")
        print(judgment.winner, judgment.probability_a)

`SyncJudge` is the same without async. The nouns are in `reasrm.types`, the errors in `reasrm.errors`.
"""

from typing import TYPE_CHECKING, Any

from reasrm.errors import ReasrmError
from reasrm.types import (
    Judgment,
    Message,
    NoVerdict,
    Options,
    Pair,
    Ranking,
    Verdict,
)

if TYPE_CHECKING:
    from reasrm.client import Judge, SyncJudge

__all__ = [
    "Judge",
    "Judgment",
    "Message",
    "NoVerdict",
    "Options",
    "Pair",
    "Ranking",
    "ReasrmError",
    "SyncJudge",
    "Verdict",
    "__version__",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # The client brings httpx, which is a third of the import time of everything else together.
    if name in ("Judge", "SyncJudge"):
        from reasrm import client

        return getattr(client, name)
    raise AttributeError(f"module 'reasrm' has no attribute {name!r}")
