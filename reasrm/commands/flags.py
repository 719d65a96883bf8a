"""Commands whose flags are the fields of pydantic models: a name, a type, a default and a help text stand once, in the model.

A field `cache_ttl_s: float = 7.0` becomes `--cache-ttl NUMBER`. Anything that does not follow from the field stands in its
`json_schema_extra`: {"flags": ["-o", "--output"]}, {"argument": True}, {"variable": "REASRM_URL"}, {"shown": "a default in words"}.
Where a variable REASRM_URL is read, REASRM_URL_FILE may name a file with the value instead: this is how container platforms mount
secrets. The flags of a command are built when that command is used, so that `reasrm --help` stays fast.
"""

from __future__ import annotations

import importlib
import inspect
import os
import types
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand

from reasrm.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    Models = Mapping[str, type[BaseModel]]

KINDS = {int: "INTEGER", float: "NUMBER", Path: "PATH", bool: ""}  # everything else is TEXT


def add(app: typer.Typer, name: str, function: str, about: str, *, prefix: str = "") -> None:
    """Add a command; `about` is its help. `function` is a "module:name", imported when the command is used.

    The function's parameters are models; its module has EXAMPLES. A module that must import its models even later has a
    function `models`, which returns them by parameter. A `prefix` gives every field an environment variable.
    """

    class Command(TyperCommand):
        @cached_property
        def built(self) -> Any:
            path, _, called = function.partition(":")
            module = importlib.import_module(path)
            run = getattr(module, called)
            models = module.models() if hasattr(module, "models") else get_type_hints(run)
            inner = typer.Typer(add_completion=False)
            inner.command(name, help=about, epilog=module.EXAMPLES)(_flattened(run, models, prefix))
            return typer.main.get_command(inner)

        # Help and parser come from the full command, which is built at its first use.
        def __getattribute__(self, attribute: str) -> Any:
            return getattr(self.built, attribute) if attribute in ("params", "epilog") else super().__getattribute__(attribute)

        def invoke(self, ctx: Any) -> Any:
            return self.built.invoke(ctx)

    def described() -> None: ...

    app.command(name, cls=Command, help=about)(described)


def _flattened(function: Callable[..., None], models: Models, prefix: str) -> Callable[..., None]:
    """`function` with one parameter per field of its models, as typer reads it."""
    models = {name: model for name, model in models.items() if name != "return"}

    def command(typer_context: typer.Context, **values: Any) -> None:
        given = {field: value for field, value in values.items() if _is_given(typer_context, field)}
        function(**{name: _made(model, given | _from_files(model, given, prefix)) for name, model in models.items()})

    parameters = [inspect.Parameter("typer_context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
    for model in models.values():
        parameters += [_parameter(field, info, prefix) for field, info in model.model_fields.items()]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _is_given(context: typer.Context, field: str) -> bool:
    source = context.get_parameter_source(field)
    return source is not None and not source.name.startswith("DEFAULT")


def _made(model: type[BaseModel], given: Mapping[str, Any]) -> BaseModel:
    """The model with the given values. Raises `InputError` in one line that names the flag."""
    from pydantic import ValidationError

    try:
        return model(**{field: value for field, value in given.items() if field in model.model_fields})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        message = first["msg"].removeprefix("Value error, ")
        shown = flag_of(field, model.model_fields[field]) if field in model.model_fields else "the flags"
        raise InputError(f"{shown}: {message[0].lower()}{message[1:]}", field=field or None) from None


def _parameter(field: str, info: FieldInfo, prefix: str) -> inspect.Parameter:
    kind = kind_of(info)
    annotation: Any = bool if kind is bool else list[str] if is_list(info) else str
    default: Any = ... if info.is_required() else _plain_default(info)
    if default is None:
        annotation = annotation | None
    shown = extra(info, "shown") or (default not in (None, "", ...) and not is_list(info))
    if extra(info, "argument"):
        place: Any = typer.Argument(help=info.description, metavar=metavar(field, info), show_default=shown)
    else:
        place = typer.Option(
            *declared(field, info),
            help=_help(info),
            metavar=metavar(field, info) or None,
            envvar=variable(field, info, prefix),
            show_default=shown,
        )
    return inspect.Parameter(field, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, place])


def declared(field: str, info: FieldInfo) -> list[str]:
    """The names of a field's flag: its own, or the ones that the field states."""
    names = extra(info, "flags")
    if names:
        return list(names)
    name = "--" + field.removesuffix("_s").replace("_", "-")
    if kind_of(info) is bool and info.default is True:
        return [f"{name}/--no-{name[2:]}"]
    return [name]


def flag_of(field: str, info: FieldInfo) -> str:
    """How people name the field: its long flag, or the argument in capitals."""
    return field.upper() if extra(info, "argument") else declared(field, info)[-1].partition("/")[0]


def variable(field: str, info: FieldInfo, prefix: str) -> str | None:
    """The environment variable that gives the field a value, if there is one."""
    return f"{prefix}{field.removesuffix('_s')}".upper() if prefix else extra(info, "variable")


def _from_files(model: type[BaseModel], given: Mapping[str, Any], prefix: str) -> dict[str, str]:
    """The values whose variable, with _FILE behind it, names a file. A flag or the variable itself comes first."""
    values: dict[str, str] = {}
    for field, info in model.model_fields.items():
        name = f"{variable(field, info, prefix)}_FILE"
        file = os.environ.get(name)
        if file and field not in given and name.startswith("REASRM_"):
            try:
                values[field] = Path(file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                why = f"{name}: cannot read {file} ({error}); mount the secret there, or unset {name}"
                raise InputError(why, field=field) from None
    return values


def kind_of(info: FieldInfo) -> type:
    """The plain type of a field: that of the items for a list, `str` for choices."""
    [kind, *_] = _kinds(info.annotation)
    return kind


def _kinds(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType, tuple, list, Annotated):
        for part in get_args(annotation)[: 1 if origin is Annotated else None]:
            yield from _kinds(part)
    elif origin is Literal:
        yield str
    elif annotation not in (type(None), Ellipsis):
        yield annotation


def is_list(info: FieldInfo) -> bool:
    """Whether the flag may be given several times."""
    parts = get_args(info.annotation) if get_origin(info.annotation) in (Union, types.UnionType) else (info.annotation,)
    return any(get_origin(part) in (tuple, list) for part in parts)


def metavar(field: str, info: FieldInfo) -> str:
    """The placeholder of the value in the help: the choices, or the kind of value."""
    if extra(info, "argument"):
        return field.upper()
    parts = (info.annotation, *get_args(info.annotation))
    choices = next((get_args(part) for part in parts if get_origin(part) is Literal), ())
    return "|".join(map(str, choices)) or KINDS.get(kind_of(info), "TEXT")


def extra(info: FieldInfo, name: str) -> Any:
    """The entry `name` in the field's `json_schema_extra`."""
    stated = info.json_schema_extra
    return cast("dict[str, Any]", stated).get(name) if isinstance(stated, dict) else None


def bounds(info: FieldInfo) -> str:
    """The range of a number in words; empty where there is none."""
    low = next((f"{item.ge:g}" for item in info.metadata if getattr(item, "ge", None) is not None), "")
    above = next((f"{item.gt:g}" for item in info.metadata if getattr(item, "gt", None) is not None), "")
    high = next((f"{item.le:g}" for item in info.metadata if getattr(item, "le", None) is not None), "")
    if low and high:
        return f"{low} to {high}"
    return f"at least {low}" if low else f"above {above}" if above else f"at most {high}" if high else ""


def _help(info: FieldInfo) -> str:
    limits = bounds(info)
    return f"{info.description or ''}" + (f" ({limits})" if limits else "")


def _plain_default(info: FieldInfo) -> Any:
    default = info.get_default(call_default_factory=True)
    if default is None or isinstance(default, bool):
        return default
    if isinstance(default, tuple | list):
        return [str(item) for item in cast("list[Any]", default)] or None
    return f"{default:g}" if isinstance(default, float) else str(default)
