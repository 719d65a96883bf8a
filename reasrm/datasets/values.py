"""What the readers share: reading a cell as a text, a number or a list. An `InputError` names the column."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from reasrm.errors import InputError

Row = Mapping[str, Any]
_KINDS = {"NoneType": "null", "str": "a text", "list": "a list", "dict": "an object", "bool": "a truth value"} | {
    "int": "a number",
    "float": "a number",
}


def cell(row: Row, column: str) -> Any:
    """The cell's value. Raises InputError where it is missing or null."""
    value = row.get(column)
    if value is None:
        raise InputError(f"{column} is {'null' if column in row else 'missing'}", field=column)
    return value


def text(row: Row, column: str) -> str:
    """The cell as a text."""
    return text_of(cell(row, column), column)


def text_of(value: Any, where: str) -> str:
    """`value` as a text; `where` names it in the error."""
    if not isinstance(value, str):
        raise InputError(f"{where} is {kind_of(value)}, not a text", field=where)
    return value


def number(row: Row, column: str) -> float:
    """The cell as a number; a text that spells a number is one."""
    return number_of(cell(row, column), column)


def number_of(value: Any, where: str) -> float:
    """`value` as a number; `where` names it in the error."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{where} is {shortened(value)}, not a number", field=where) from None


def numbers(row: Row, column: str) -> list[float]:
    """The cell as a list of numbers."""
    return [number_of(value, f"{column}[{i}]") for i, value in enumerate(items(row, column))]


def name(row: Row, *columns: str) -> str:
    """The name of the first of `columns` that holds something; empty if none does."""
    return next((str(row[column]) for column in columns if row.get(column) not in (None, "")), "")


def items(row: Row, column: str) -> list[Any]:
    """The cell as a list. A text is parsed as JSON, which is how tables without lists store them."""
    return items_of(cell(row, column), column)


def items_of(value: Any, where: str) -> list[Any]:
    """`value` as a list; `where` names it in the error."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise InputError(f"{where} is a text, not a list", field=where) from None
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise InputError(f"{where} is {kind_of(value)}, not a list", field=where)
    return list(cast(Sequence[Any], value))


def texts(row: Row, column: str) -> list[str]:
    """The cell as a list of texts."""
    return [text_of(value, f"{column}[{i}]") for i, value in enumerate(items(row, column))]


def kind_of(value: Any) -> str:
    """The type of `value` in words, for messages."""
    kind = type(value).__name__
    return _KINDS.get(kind, kind)


def shortened(value: Any) -> str:
    """`value` as it is written, cut to 40 characters."""
    written = "null" if value is None else repr(value)
    return written if len(written) <= 40 else written[:37] + "..."
