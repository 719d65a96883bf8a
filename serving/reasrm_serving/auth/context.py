"""The sender of the current request: the key's owner, and the training run or study that the request names."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Principal:
    """The owner of the request's key. Without keys all callers share one nameless principal, which is not an admin."""

    name: str = ""
    priority: int = 0
    admin: bool = False


NOBODY = Principal()
principal: ContextVar[Principal] = ContextVar("principal", default=NOBODY)


class Caller(NamedTuple):
    """The training run or study, and the part of it, that the request names."""

    run: str | None = None
    subset: str | None = None


#: The sender of the current request. Set when a request is read, and inherited by the tasks that work for it.
caller: ContextVar[Caller | None] = ContextVar("caller", default=None)
