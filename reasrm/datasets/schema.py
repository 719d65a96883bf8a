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

#: The role of columns that only distinguish schemas.
NOT_USED = "not used"


@dataclass(frozen=True)
class Schema:
    """One kind of table. `needs` and `takes` map its columns to their roles: it is recognised by the columns of
    `needs`, and may also have those of `takes`.

    `fields` makes the fields of an `Example` out of a row. `fits` looks at a row where the columns alone do not distinguish
    schemas.
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
        """The columns by which it is recognised."""
        return frozenset(self.needs)

    @cached_property
    def optional(self) -> frozenset[str]:
        """The columns that it may also have."""
        return frozenset(self.takes)

    @cached_property
    def reads(self) -> Mapping[str, str]:
        """Every column that it reads, with its role."""
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
        """`row` as an example. A row without a subset takes its file's name. Raises InputError."""
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
    """`question: prompt; responses: chosen rejected` as a mapping from columns to roles."""
    parts = (part.partition(":") for part in written.split(";") if part.strip())
    return {column: read_as.strip() for read_as, _, columns in parts for column in columns.split()}


@lru_cache(maxsize=64)
def _subset_of(file: str) -> str:
    return PurePath(file).name.partition(".")[0].removesuffix("_filtered")
