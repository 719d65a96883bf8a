"""What the benchmarks share: a named protocol, and the score that comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from reasrm.metrics import Mean
from reasrm.results import Compared, Scored, drawn_order
from reasrm.types import Side


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a judge is asked, and what a comparison without a verdict counts.

    `reads`: "one" order, drawn for each row; "games": two games, the second with the order flipped, each a vote; "both": the
    judgment's own verdict over both orders. A comparison without a verdict counts `no_verdict`: that is the benchmark's rule, not
    this project's, and how many there were is always said beside the score.
    """

    name: str
    reads: Literal["one", "games", "both"]
    no_verdict: float = 0.0

    @property
    def says(self) -> str:
        """The protocol in words."""
        read = {"one": "one order, drawn a row", "games": "two games with the order flipped", "both": "both orders"}[self.reads]
        return f"{self.name}: {read}; no verdict counts {self.no_verdict:g}"

    def winner(self, row: Scored, compared: Compared) -> Side | None:
        """The side that wins a comparison of `row` under this protocol."""
        orders = {game.order for game in compared.games}
        if self.reads == "both" or len(orders) < 2:
            return compared.winner
        if self.reads == "one":
            return compared.by_order(drawn_order(f"{row.index}:{compared.i}:{compared.j}"))
        tally = sum((side == "A") - (side == "B") for side in (compared.by_order("ab"), compared.by_order("ba")))
        return None if tally == 0 else ("A" if tally > 0 else "B")

    def hit(self, row: Scored, compared: Compared) -> float | None:
        """1 for the preferred side, 0 for the other, `no_verdict` for none; None where the labels prefer neither."""
        preferred = row.preferred(compared)
        if preferred is None:
            return None
        winner = self.winner(row, compared)
        return self.no_verdict if winner is None else float(winner == preferred)


@dataclass(frozen=True, slots=True)
class Score:
    """A benchmark's table. Values are in [0, 1]; `overall` is NaN where a section is `missing`."""

    overall: Mean
    sections: Mapping[str, Mean]
    subsets: Mapping[str, Mean]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark: the schemas of its files, its protocols (the first is the default) and its pure scoring function."""

    name: str
    title: str
    paper: str
    schemas: tuple[str, ...]
    protocols: tuple[Protocol, ...]
    score: Callable[[Iterable[Scored], Protocol], Score]
    notes: str = field(default="")

    def protocol(self, name: str | None) -> Protocol:
        """The protocol called `name`, or the default. Raises InputError, which lists the names."""
        from reasrm.errors import InputError

        found = self.protocols[0] if name is None else next((each for each in self.protocols if each.name == name), None)
        if found is None:
            known = ", ".join(each.name for each in self.protocols)
            raise InputError(f"{self.title} has no protocol {name!r}; there are {known}", field="protocol")
        return found


#: As RM-R1 evaluates: greedy, one random order, an unreadable reply is wrong (arXiv 2505.02387).
RM_R1 = Protocol("rm-r1", "one", 0.0)
#: What this project believes more: both orders, and no verdict is no success.
BOTH = Protocol("both-orders", "both", 0.0)


def hits_by_subset(rows: Iterable[Scored], protocol: Protocol) -> dict[str, Mean]:
    """Accuracy of rows of one comparison each, by their subset. Rows with an error, and ties, count nowhere."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if row.only is not None:
            hit = protocol.hit(row, row.only)
            if hit is not None:
                values.setdefault(row.subset, []).append(hit)
    return {subset: Mean.of(hits) for subset, hits in sorted(values.items())}
