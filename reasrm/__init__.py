"""reasrm: reasoning reward models, from preference data to a judge that RL loops can trust.

    from reasrm import Judge

    async with Judge("http://localhost:8900") as judge:
        judgment = await judge.pair("What is 2 + 3?", "5", "6")
        print(judgment.winner, judgment.probability_a)

`SyncJudge` is the same without async. The nouns are in `reasrm.types`, the errors in `reasrm.errors`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reasrm.client import Judge, SyncJudge
    from reasrm.errors import ReasrmError
    from reasrm.messages import Message
    from reasrm.types import Judgment, NoVerdict, Options, Pair, Ranking, Verdict

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

_HOMES = {"Judge": "client", "SyncJudge": "client", "ReasrmError": "errors", "Message": "messages"}


def __getattr__(name: str) -> Any:
    # A name is loaded when it is used: the command line and a trainer that needs one function pay for nothing else.
    if name in __all__:
        return getattr(importlib.import_module(f"reasrm.{_HOMES.get(name, 'types')}"), name)
    raise AttributeError(f"module 'reasrm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
