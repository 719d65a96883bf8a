"""Who sends the request that is being answered: the key's owner, and the training run or study that the request names."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks now. Without keys everybody is the same nameless caller, and nobody an admin."""

    name: str = ""
    priority: int = 0
    admin: bool = False


NOBODY = Principal()
principal: ContextVar[Principal] = ContextVar("principal", default=NOBODY)


class Caller(NamedTuple):
    """Who asks: the training run or study, and the part of it, as the request says."""

    run: str | None = None
    subset: str | None = None


#: Who asks for what is being judged; set where a request is read, and inherited by what is done for it.
caller: ContextVar[Caller | None] = ContextVar("caller", default=None)
