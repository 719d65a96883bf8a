"""What the stores of cohorts agree on: one protocol, which gateways use through Redis together or in their own memory.

A cohort's name stands for its terms. Under one name there is one cohort after another; each has a number, and these states:

    gathering --(full, or its time to gather is over; one gateway claims it)--> ranking --> ranked
                                                                     ^             |
                                             (a rollout comes back)  |             v
                                                                     +---------- failed

A *place* is one rollout in one cohort. It holds the text and not the caller, so it stays when the caller goes. A place is *vacant*
while no caller waits at it; a gateway that waits renews a short lease on it, so the places of a dead gateway fall vacant. A
rollout that comes (back) with a text takes the vacant place of that text, if there is one, and else a new one: so a retry finds
its place, and two rollouts with one text have two places.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from reasrm_serving.cohorts.result import Pivot, Result, Reward

KEEP_S = 3600.0  # rewards and pivots of ranked cohorts
KEEP_FAILED_S = 120.0  # texts of a cohort that failed: kept as long as clients retry
LEASE_S = 3.0  # of a place whose caller waits, and of a cohort that is ranked
RECENT = 8  # cohorts of one name among which a retry looks for its place


class State(StrEnum):
    """See the picture above."""

    GATHERING = "gathering"
    RANKING = "ranking"
    RANKED = "ranked"
    FAILED = "failed"


class Role(StrEnum):
    """What a registered rollout is.

    A member has a place. A late rollout came after the cohort had been closed without being full. A repeat has the text of a
    rollout that was rewarded and answered: it gets the same reward at once, and counts as a member of the next cohort.
    Lost: nothing was registered, because the store has lost a cohort of this gateway, which must be restored first.
    """

    MEMBER = "member"
    LATE = "late"
    REPEAT = "repeat"
    LOST = "lost"


class StoreUnavailable(Exception):
    """The store is away, has lost the cohort, or is full; the rollout should come again."""


class SentBack(Exception):
    """So many rollouts wait that this one should come back later; it stays registered."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A rollout on its way to a place. `key` is drawn from its text; `member` is the caller's own name of it, if it has one.

    `token` is that of its place, if it is to be a new one.
    """

    key: str
    text: bytes
    token: str
    member: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rollout was registered: `number` of the cohort, `token` of the place.

    `gather_left_s` and `left_s` are the seconds until the cohort is closed and until its rewards are due. `failures` counts how
    often ranking it has failed, `returns` how often a caller came back to this place.
    """

    number: int
    role: Role
    token: str
    count: int
    gather_left_s: float
    left_s: float
    failures: int = 0
    returns: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """A cohort as the store has it. `claimable`: it is being ranked, but the gateway that ranks it is gone.

    `restored`: the store had lost it, and some of its places may be lost for good.
    """

    state: State
    count: int
    claimable: bool
    restored: bool
    failures: int
    failure: Reward | None


class Store(Protocol):
    """See the module. Every method raises `StoreUnavailable` where the store is away.

    A cohort must be looked at every `poll_s` seconds: other gateways change it too, and leases run out.
    """

    poll_s: float

    async def register(
        self, name: str, arrival: Arrival, size: int, wait_s: float, judge_s: float, known: int | None = None
    ) -> Place:
        """Take the rollout's own place if it has one, else a new one; opens a cohort where none gathers.

        `known` is the number of a cohort that this gateway has places in: where the store has lost that, the role is `LOST`.
        """
        ...

    async def restore(self, name: str, place: Place, size: int, texts: Mapping[str, bytes], held: Collection[str]) -> int:
        """Put places back into a cohort that the store has lost: `texts` by token, of which callers wait at `held`.

        Returns the number of the cohort that they are in now: another one where a second cohort was opened in between.
        """
        ...

    async def look(self, name: str, number: int, places: Mapping[str, bool]) -> View | None:
        """The cohort, None where the store has lost it or one of these places, given by token with whether a caller waits there.

        Renews the leases of those where one does.
        """
        ...

    async def texts(self, name: str, number: int, known: Collection[str]) -> dict[str, bytes]:
        """The texts by token, but for the tokens that are `known`."""
        ...

    async def leave(self, name: str, number: int, token: str) -> None:
        """Mark the place as vacant, because its caller has gone."""
        ...

    async def claim(self, name: str, number: int, owner: str) -> dict[str, bytes] | None:
        """Close the cohort for `owner` to rank it, and return its texts by token; None where it is not to be ranked now."""
        ...

    async def renew(self, name: str, number: int, owner: str) -> None:
        """Renew the claim of an owner that still ranks."""
        ...

    async def settle(self, name: str, number: int, result: Result) -> None:
        """Store the result of the cohort, or its failure. The texts of a ranked cohort are dropped."""
        ...

    async def collect(self, name: str, number: int, tokens: Sequence[str]) -> list[Reward | None]:
        """The rewards of places of a ranked cohort, which are answered now: None where one is not among them."""
        ...

    async def reward(self, name: str, number: int, key: str) -> Reward | None:
        """The reward of a text in a ranked cohort."""
        ...

    async def record(self, name: str, number: int, key: str, reward: Reward) -> None:
        """Store the reward of a late rollout."""
        ...

    async def pivot(self, name: str, number: int | None = None) -> Pivot | None:
        """The pivot of a cohort, or of the last ranked one of this name."""
        ...

    async def waiting(self, run: str, gateway: str, count: int) -> int:
        """How many rollouts of a run wait at all gateways together, of which `count` at this one."""
        ...


def key_in(token: str) -> str:
    """The key of the text at a place: a token is KEY.SUFFIX."""
    return token.partition(".")[0]
