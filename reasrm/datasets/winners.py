"""The meaning of the values in a winner column: known names, numbers that are unambiguous, and values that callers name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from reasrm.datasets.values import Row, cell, kind_of, shortened
from reasrm.errors import InputError

Winner = Literal["A", "B", "tie"]
#: A value of the column, folded, and its meaning.
WinnerValues = Mapping[str, Winner]

NAMES: WinnerValues = {
    **dict.fromkeys(("a", "model_a", "response_a", "response_1"), "A"),
    **dict.fromkeys(("b", "model_b", "response_b", "response_2"), "B"),
}
#: The only unambiguous pair of numbers. 0 and 1 may be an index, or say whether the first response won.
NUMBERED: WinnerValues = {"1": "A", "2": "B"}
HOW = "say what the values mean with --winner-values a=1,b=2,tie=0"
_MEANINGS: Mapping[str, Winner] = {"a": "A", "b": "B", "tie": "tie"}
_LABELS: Mapping[Winner, tuple[float, float]] = {"A": (1.0, 0.0), "B": (0.0, 1.0), "tie": (0.0, 0.0)}


def folded(value: Any) -> str:
    """A value of the column in one form, so that 1, 1.0 and "1" are equal."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().lower()


def winner_labels(row: Row, column: str, values: WinnerValues | None = None) -> tuple[float, float]:
    """Labels for a value of the winner column: as `values` map it, or A/B, model_a/model_b, response_1/response_2, or a tie.

    Raises InputError.
    """
    value = cell(row, column)
    if not isinstance(value, str | int | float):
        raise InputError(f"{column} is {kind_of(value)}, not A, B or tie", field=column)
    winner = _meaning(folded(value), values)
    if winner is None:
        raise InputError(f"{column} is {shortened(value)}, not A, B or tie; {HOW}", field=column)
    return _LABELS[winner]


def _meaning(value: str, values: WinnerValues | None) -> Winner | None:
    if values:
        return values.get(value)
    return "tie" if value.startswith("tie") else NAMES.get(value)


def values_in(rows: Iterable[Row], column: str) -> WinnerValues | None:
    """The meaning of the numbers in `column` if it is unambiguous: both 1 and 2 occur, and nothing else."""
    present = {folded(row[column]) for row in rows if row.get(column) is not None}
    return NUMBERED if present == set(NUMBERED) else None


def winner_values_of(written: str) -> WinnerValues:
    """`a=1,b=2,tie=0` as {"1": "A", "2": "B", "0": "tie"}. Raises InputError."""
    values: dict[str, Winner] = {}
    for part in written.split(","):
        name, equals, value = (side.strip().lower() for side in part.partition("="))
        if not equals or not value or name not in _MEANINGS or value in values:
            raise InputError(
                f"--winner-values takes a=VALUE,b=VALUE,tie=VALUE, each value once, not {written!r}", field="winner_values"
            )
        values[value] = _MEANINGS[name]
    if not {"A", "B"} <= set(values.values()):
        raise InputError(f"--winner-values must name a value for a and one for b, not {written!r}", field="winner_values")
    return values


def in_words(values: WinnerValues) -> str:
    """The meaning of the values in words, for use within a sentence."""
    return ", ".join(f"{value} is {'a tie' if winner == 'tie' else winner.lower()}" for value, winner in values.items())
