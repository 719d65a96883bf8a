"""The reference pages that are generated: `python -m tests.contract.reference --write`. A test compares them with the code.

They come from the commands (whose flags and variables come from the settings models), the gateway's OpenAPI, and the tables of a
recipe.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import typer
from reasrm_serving.app import create_app
from reasrm_serving.settings import Settings
from reasrm_training.config.recipe import Recipe

from reasrm.commands.app import app
from tests.components import ROOT

FOLDER = ROOT / "docs" / "reference"
COMMANDS, VARIABLES, ROUTES, RECIPES = (FOLDER / f"{name}.md" for name in ("command-line", "variables", "http", "recipes"))
SHOWN = ("/v1/judge", "/v1/judge/batch", "/v1/judge/stream", "/v1/rank", "/v1/reward")
HEAD = "<!-- generated: python -m tests.contract.reference --write -->\n"


def pages() -> dict[Any, str]:
    """The text of every generated page."""
    return {COMMANDS: command_page(), VARIABLES: variable_page(), ROUTES: route_page(), RECIPES: recipe_page()}


def commands(command: Any = None, path: str = "reasrm") -> Iterator[tuple[str, Any]]:
    """Every command that is not a group, with its full name."""
    command = typer.main.get_command(app) if command is None else command
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, inner in command.commands.items():
        yield from commands(inner, f"{path} {name}")


def command_page() -> str:
    """Every command with its arguments, flags, defaults and examples."""
    parts = [
        HEAD,
        "# The command line\n",
        "Errors are one line on standard error. The exit code is 2 for bad input, 1 for a failure, 3 where a single judgment or "
        "ranking has no verdict, and 130 after Ctrl-C. A flag comes before its variable.\n",
    ]
    for path, command in commands():
        arguments = "".join(
            f" {parameter.name.upper()}" if parameter.required else f" [{parameter.name.upper()}]"
            for parameter in command.params
            if parameter.param_type_name == "argument"
        )
        parts += [f"## {path}\n", f"{plain(command.help)}\n", f"```text\n{path}{arguments} [FLAGS]\n```\n", table(command)]
        if command.epilog:
            parts.append(examples(command.epilog))
    return "\n".join(parts).rstrip() + "\n"


def table(command: Any) -> str:
    """The parameters of a command."""
    rows = ["| argument or flag | value | default | meaning |", "|---|---|---|---|"]
    for parameter in command.params:
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
        names = f"`{parameter.name.upper()}`" if parameter.param_type_name == "argument" else names
        about = plain(parameter.help) + (f" Variable: `{parameter.envvar}`." if parameter.envvar else "")
        rows.append(f"| {names} | {value_of(parameter)} | {default_of(parameter)} | {about} |")
    return "\n".join(rows) + "\n"


def variable_page() -> str:
    """Every environment variable, with the flag that it stands for."""
    parts = [
        HEAD,
        "# Environment variables\n",
        "Only the command line reads them. A flag comes before its variable. Each `REASRM_` variable may have `_FILE` behind its "
        "name and then names a file with the value, as container platforms mount secrets; the variable comes before the file.\n",
    ]
    tables: dict[str, list[str]] = {}
    for path, command in commands():
        rows = [row for parameter in command.params if parameter.envvar and (row := variable_row(parameter))]
        if rows:
            tables.setdefault("\n".join(rows), []).append(path)
    for rows, paths in tables.items():
        names = ", ".join([paths[0], *(path.removeprefix("reasrm ") for path in paths[1:])])
        parts += [f"## {names}\n", f"| variable | flag | value | default | meaning |\n|---|---|---|---|---|\n{rows}\n"]
    return "\n".join(parts).rstrip() + "\n"


def variable_row(parameter: Any) -> str:
    """A row of the table of variables."""
    cells = (f"`{parameter.envvar}`", f"`{parameter.opts[-1]}`", value_of(parameter), default_of(parameter), plain(parameter.help))
    return f"| {' | '.join(cells)} |"


def route_page() -> str:
    """The requests and the responses of the judging routes, from the gateway's own description."""
    document = create_app(Settings()).openapi()
    parts = [
        HEAD,
        "# HTTP routes\n",
        "The gateway describes all its routes in `/openapi.json`, from which clients can be generated. Here are the fields of the "
        "judging routes. Every error has the shape of an [ErrorResponse](#errorresponse).\n",
    ]
    waiting: list[str] = []
    for path in SHOWN:
        operation = document["paths"][path]["post"]
        taken = references(operation["requestBody"])
        answered = references(operation["responses"]["200"]) or ["StreamDelta", "JudgmentResponse"]
        waiting += [*taken, *answered]
        links = [", ".join(f"[{name}](#{name.lower()})" for name in names) for names in (taken, answered)]
        parts.append(f"## POST {path}\n\n{plain(operation['description'])}\n\nTakes {links[0]}, answers {links[1]}.\n")
    parts.append("## The objects\n")
    schemas, seen = document["components"]["schemas"], set[str]()
    waiting.append("ErrorResponse")
    while waiting:
        name = waiting.pop(0)
        if name not in seen:
            seen.add(name)
            waiting += references(schemas[name])
            parts.append(schema_table(name, schemas[name]))
    return "\n".join(parts).rstrip() + "\n"


def recipe_page() -> str:
    """Every key of a recipe, table by table."""
    root = Recipe.model_json_schema(by_alias=True)
    tables, waiting = dict[str, list[str]](), [("", "Recipe")]
    schemas = root["$defs"] | {"Recipe": root}
    while waiting:
        path, name = waiting.pop(0)
        tables.setdefault(name, []).append(path)
        for key, inner in schemas[name]["properties"].items():
            waiting += [(f"{path}.{key}".lstrip("."), table) for table in references(inner)]
    parts = [
        HEAD,
        "# Recipes\n",
        "A recipe is a TOML file that decides a training run. This page lists every key of it, with its type, default and meaning. "
        "[Train your own judge](../train.md) shows how recipes are used.\n",
        "A stage whose table is absent does not run. `extends` names a recipe or a file: its keys are taken over, and the keys of "
        "your file replace them. `false` in place of a table removes that table. `--set rlvr.steps=40` changes a value from the "
        "command line.\n",
    ]
    for name, paths in tables.items():
        title = " and ".join(f"`[{path}]`" for path in paths) if paths != [""] else "Keys outside of the tables"
        parts.append(f"## {title} {{ #{name.lower()} }}\n\n{recipe_table(schemas[name])}")
    parts.append(
        "## Read a recipe in Python\n\n::: reasrm_training.config.recipes\n    options:\n      show_root_heading: false\n"
        "      show_root_toc_entry: false\n      heading_level: 3\n      members: [load_recipe, built_in_recipes]\n"
    )
    return "\n".join(parts).rstrip() + "\n"


def recipe_table(schema: Any) -> str:
    """What a table of a recipe is for, and its keys. TOML has no null: a key without a value is left out."""
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, inner in schema["properties"].items():
        value = inner.get("default")
        default = "required" if key in schema.get("required", ()) else "none" if value is None else f"`{json.dumps(value)}`"
        if references(inner) and isinstance(value, dict):
            default = "that table's defaults"
        rows.append(f"| `{key}` | {type_of(inner).replace(' or null', '')} | {default} | {plain(inner['description'])} |")
    return f"{plain(schema.get('description'))}\n\n" + "\n".join(rows) + "\n"


def references(schema: Any) -> list[str]:
    """The names of the schemas that `schema` refers to."""
    return [part.partition('"')[0].rpartition("/")[2] for part in json.dumps(schema).split('"#/')[1:]]


def schema_table(name: str, schema: Any) -> str:
    """The fields of an object."""
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for field, inner in schema["properties"].items():
        default = "required" if field in schema.get("required", ()) else f"`{json.dumps(inner.get('default'))}`"
        rows.append(f"| `{field}` | {type_of(inner)} | {default} | {plain(inner.get('description'))} |")
    return f"### {name}\n\n{plain(schema.get('description'))}\n\n" + "\n".join(rows) + "\n"


def type_of(schema: Any) -> str:
    """The type of a field in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(type_of(option) for option in schema["anyOf"]))
    if schema.get("type") == "array":
        return f"list of {type_of(schema.get('items') or schema.get('prefixItems', [{}])[0])}"
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    bounds = f" ({low:g} to {schema['maximum']:g})" if low is not None and "maximum" in schema else ""
    return f"{schema.get('type', 'any')}{bounds}"


def value_of(parameter: Any) -> str:
    """The kind of value that a parameter takes; empty for a switch."""
    if getattr(parameter, "is_flag", False) or parameter.param_type_name == "argument":
        return ""
    return (parameter.metavar or "TEXT").replace("|", ", ")


def default_of(parameter: Any) -> str:
    """The default as the help shows it."""
    if parameter.required:
        return "required"
    if isinstance(parameter.show_default, str):
        return plain(parameter.show_default)
    if parameter.default in (None, False, (), []) or callable(parameter.default):
        return ""
    return f"`{'on' if parameter.default is True else parameter.default}`"


def examples(epilog: str) -> str:
    """The examples as a block, and the sentences after them as text."""
    lines = [line for line in epilog.splitlines() if line.strip()]
    shown = [line.strip() for line in lines if line.startswith("  ")]
    sentences = [line.strip() for line in lines if not line.startswith("  ") and line.strip() != "Examples:"]
    return "```text\n" + "\n".join(shown) + "\n```\n" + (f"\n{plain(' '.join(sentences))}\n" if sentences else "")


def plain(text: str | None) -> str:
    """Text for a table: one line, without characters that Markdown would read."""
    return " ".join((text or "").split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def main() -> None:
    """Report which pages are stale, or write them."""
    stale = [page for page, text in pages().items() if not page.exists() or page.read_text(encoding="utf-8") != text]
    for page in stale:
        if "--write" in sys.argv[1:]:
            page.write_text(pages()[page], encoding="utf-8")
        sys.stdout.write(f"{page.relative_to(ROOT)}\n")
    sys.exit(bool(stale) and "--write" not in sys.argv[1:])


if __name__ == "__main__":
    main()
