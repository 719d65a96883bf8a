"""A schema: one kind of table, and how its rows become examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import PurePath
from typing import Any

from pydantic import ValidationError

from reasrm.datasets.example import Example
from reasrm.datasets.question_parts import PARTS, filled_response, whole_question
from reasrm.datasets.values import Row
from reasrm.errors import InputError

#: What a column is read as that only tells schemas apart.
NOT_USED = "not used"


@dataclass(frozen=True)
class Schema:
    """One kind of table. `needs` and `takes` map its columns to what they are read as: the first by which it is known,
    the second those that it may have besides.

    `fields` makes the fields of an `Example` out of a row. `fits` looks at a row where columns alone do not tell schemas apart.
    """

    name: str
    fields: Callable[[Row], dict[str, Any]]
    needs: Mapping[str, str]
    takes: Mapping[str, str]
    fits: Callable[[Row], bool] | None = None

    @classmethod
    def of(
        cls,
        name: str,
        fields: Callable[[Row], dict[str, Any]],
        needs: str,
        takes: str = "",
        fits: Callable[[Row], bool] | None = None,
    ) -> Schema:
        """A schema whose columns are written as `question: prompt; responses: chosen rejected`."""
        return cls(name, fields, _columns(needs), _columns(takes), fits)

    @cached_property
    def columns(self) -> frozenset[str]:
        """The columns by which it is known."""
        return frozenset(self.needs)

    @cached_property
    def optional(self) -> frozenset[str]:
        """The columns that it may have besides."""
        return frozenset(self.takes)

    @cached_property
    def reads(self) -> Mapping[str, str]:
        """Every column that it reads, and what it is read as."""
        return {**self.needs, **self.takes}

    @cached_property
    def question_parts(self) -> frozenset[str]:
        """The columns that complete its question (see `question_parts.PARTS`)."""
        return frozenset(column for column in PARTS if self.takes.get(column) == "question")

    def holds(self, row: Row) -> bool:
        """Whether each of its columns holds something in `row`."""
        return all(row.get(column) is not None for column in self.needs)

    def suits(self, row: Row) -> bool:
        """Whether `row` looks like one of its rows."""
        return self.holds(row) and (self.fits is None or self.fits(row))

    def read(self, row: Row, file: str = "") -> Example:
        """`row` as an example; where the row does not say its subset, its file's name does. Raises InputError."""
        fields = self.fields(row)
        fields["question"] = whole_question(row, fields["question"], self.question_parts)
        fields["responses"] = [filled_response(response) for response in fields["responses"]]
        if file and not fields.get("subset"):
            fields["subset"] = _subset_of(file)
        try:
            example = Example.model_validate(fields)
            example.text.encode()
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "row"
            raise InputError(f"{where}: {first['msg'].removeprefix('Value error, ')}", field=where) from None
        except UnicodeEncodeError as error:
            half = ord(error.object[error.start])
            raise InputError(f"a text holds U+{half:04X}, half of a surrogate pair: it was cut inside a character") from None
        return example


def _columns(written: str) -> dict[str, str]:
    """`question: prompt; responses: chosen rejected` as the column's name to what it is read as."""
    parts = (part.partition(":") for part in written.split(";") if part.strip())
    return {column: read_as.strip() for read_as, _, columns in parts for column in columns.split()}


@lru_cache(maxsize=64)
def _subset_of(file: str) -> str:
    return PurePath(file).name.partition(".")[0].removesuffix("_filtered")
