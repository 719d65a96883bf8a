"""Which options each call of the client takes, and their checks: a wrong option is refused before anything is sent."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict, TypeVar, cast

from pydantic import ValidationError

from reasrm.errors import ConfigurationError, InputError
from reasrm.judging.group import Budget, MethodName, RankOptions
from reasrm.types import Message, Options

T = TypeVar("T")
#: A text, or messages as mappings or as `Message`s.
Text = str | Sequence[Mapping[str, Any]] | Sequence[Message]


class JudgeOptions(TypedDict, total=False):
    """The fields of `Options`."""

    orders: Literal["ab", "both"]
    votes: int
    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    deliberation: str | None
    reuse: bool | None
    reasoning: Literal["on", "off"] | None
    forced: bool
    split_band: float


class RankFields(JudgeOptions, total=False):
    """The fields of `POST /v1/rank` beside the question and the responses."""

    reference: Text | None
    rubric: str | None
    method: MethodName
    scale: Literal["unit", "raw"]
    budget: Budget | Mapping[str, int] | None
    near_duplicates: float | None
    replies: bool
    run: str
    subset: str


class RewardFields(JudgeOptions, total=False):
    """The fields of `POST /v1/reward` beside the question, the response and its cohort."""

    rubric: str | None
    method: MethodName | None
    scale: Literal["unit", "raw"]
    budget: Budget | Mapping[str, int] | None
    near_duplicates: float | None
    thinking: Literal["strip", "keep"]
    run: str
    wait_s: float


def checked(make: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call `make`; a pydantic error becomes an `InputError` in one line that names the field."""
    try:
        return make(*args, **kwargs)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or None
        raise InputError(f"{field or 'input'}: {first['msg'].removeprefix('Value error, ')}", field=field) from error


def judge_options(options: Mapping[str, Any]) -> Options:
    """`options` as `Options`. Raises `ConfigurationError` for an unknown name, `InputError` for a wrong value."""
    check_names(options, JudgeOptions.__annotations__)
    return checked(Options, **options)


def check_rank_fields(fields: Mapping[str, Any]) -> None:
    """Raise `ConfigurationError` for a name that `POST /v1/rank` does not know, `InputError` for a wrong value."""
    check_names(fields, RankFields.__annotations__)
    checked(RankOptions.model_validate, {name: value for name, value in fields.items() if name in RankOptions.model_fields})


def check_names(given: Iterable[str], known: Iterable[str]) -> None:
    """Raise `ConfigurationError` for a name in `given` that is not `known`."""
    names = sorted(known)
    for name in given:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            meant = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(names)}"
            raise ConfigurationError(f"there is no option {name!r}{meant}", field=name)


def encoded(body: Mapping[str, Any]) -> bytes:
    """`body` as JSON in UTF-8. Raises `InputError` for text that is not Unicode: bytes of the command line, a cut character."""
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError as error:
        half = ord(error.object[error.start])
        raise InputError(f"a text is not Unicode (it holds U+{half:04X}, half of a surrogate pair)") from None


def wire(value: Any) -> Any:
    """A text, messages or a budget as data for JSON."""
    if isinstance(value, Message | Budget):
        return value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, list | tuple):
        return [wire(part) for part in cast("Sequence[Any]", value)]
    return value
