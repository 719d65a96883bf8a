"""Who sends the request that is being answered: the key's owner, and the training run or study that the request names."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Principal:
    """The owner of the key that the request came with. Without keys everybody is the same nameless one, and nobody an admin."""

    name: str = ""
    priority: int = 0
    admin: bool = False


NOBODY = Principal()
principal: ContextVar[Principal] = ContextVar("principal", default=NOBODY)


class Caller(NamedTuple):
    """The training run or study, and the part of it, that the request says it is for."""

    run: str | None = None
    subset: str | None = None


#: For whom a pair is judged; set where a request is read, and inherited by the work that is done for it.
caller: ContextVar[Caller | None] = ContextVar("caller", default=None)
