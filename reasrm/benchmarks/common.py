"""What the benchmarks share: named protocols, and scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from reasrm.errors import InputError
from reasrm.metrics import Mean
from reasrm.results import Compared, Scored, drawn_order
from reasrm.types import Side


@dataclass(frozen=True, slots=True)
class Protocol:
    """The orders in which a pair is judged, and the value of a comparison without a verdict.

    `reads`: "one" order, drawn for each row; "games": two games, the second with the order flipped, each a vote; "both": the
    judgment's own verdict over both orders. A comparison without a verdict counts `no_verdict`: that is the benchmark's rule, not
    this project's; their number always stands beside the score.
    """

    name: str
    reads: Literal["one", "games", "both"]
    no_verdict: float = 0.0

    @property
    def says(self) -> str:
        """The protocol in words."""
        read = {"one": "one order, drawn for each row", "games": "two games with the order flipped", "both": "both orders"}
        return f"{self.name}: {read[self.reads]}; no verdict counts {self.no_verdict:g}"

    def lacks_an_order(self, compared: Compared) -> bool:
        """Whether a comparison was read in one order only although this protocol needs both."""
        return self.reads != "one" and len({game.order for game in compared.games}) == 1

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
    """A benchmark: the schemas of its files, its protocols (the first is the default) and its pure scoring function.

    `apart`: its authors score the rows of each value of this column separately; they are never pooled.
    """

    name: str
    title: str
    paper: str
    schemas: tuple[str, ...]
    protocols: tuple[Protocol, ...]
    score: Callable[[Iterable[Scored], Protocol], Score]
    notes: str = ""
    apart: str = ""

    def protocol(self, name: str | None) -> Protocol:
        """The protocol called `name`, or the default. Raises InputError, which lists the names."""
        by_name = {protocol.name: protocol for protocol in self.protocols}
        if name is not None and name not in by_name:
            raise InputError(f"{self.title} has no protocol {name!r}; there are {', '.join(by_name)}", field="protocol")
        return self.protocols[0] if name is None else by_name[name]

    def checked(self, rows: Iterable[Scored], protocol: Protocol) -> Iterator[Scored]:
        """`rows` (judged rows). Raises InputError for a row that `protocol` cannot score or that is scored separately."""
        first = ""
        for row in rows:
            first = first or row.file
            if self.apart:
                self.check_apart([first, row.file])
            if any(protocol.lacks_an_order(compared) for compared in row.comparisons):
                one_order = " or ".join(other.name for other in self.protocols if other.reads == "one")
                raise InputError(
                    f"{row.file}, row {row.row}, was read in one order only, and the protocol {protocol.name} needs both: "
                    f"judge the benchmark again with --protocol {protocol.name}"
                    + (f", or score these judgments with --protocol {one_order}" if one_order else ""),
                    field="protocol",
                )
            yield row

    def check_apart(self, names: Iterable[str]) -> None:
        """Raise InputError if `names` (the rows' values of the column `apart`) are several."""
        several = sorted(set(names))
        if len(several) > 1:
            raise InputError(
                f"{self.title} is scored separately for each {self.apart.replace('_', ' ')}, and these rows are of several "
                f"({', '.join(several)}): give one file",
                field="path",
            )


#: As RM-R1 evaluates: greedy, one random order, an unreadable reply is wrong (arXiv 2505.02387).
RM_R1 = Protocol("rm-r1", "one", 0.0)
#: This project's own protocol is stricter: both orders, and no verdict counts as wrong.
BOTH = Protocol("both-orders", "both", 0.0)


def hits_by_subset(rows: Iterable[Scored], protocol: Protocol) -> dict[str, Mean]:
    """Accuracy by subset, for rows with one comparison each. Rows with an error and ties are left out."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if row.only is not None:
            hit = protocol.hit(row, row.only)
            if hit is not None:
                values.setdefault(row.subset, []).append(hit)
    return {subset: Mean.of(hits) for subset, hits in sorted(values.items())}
