"""The texts that a Python file or a notebook holds as constants. The file is parsed and never run.

A constant may be composed of literals and other constants by `+`, `*`, `+=`, f-strings, `join`, `replace`, `strip` and
`dedent`. A constant that depends on anything else is kept as unfinished, with its literal parts.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from reasrm.errors import PromptPackError

MOST_CHARS = 1_000_000  # characters of one text, because an expression such as "a" * 10**9 could make any length
#: Methods of texts, called with texts and numbers.
_METHODS = ("strip", "lstrip", "rstrip", "replace", "removeprefix", "removesuffix", "lower", "upper", "join")
_FUNCTIONS: dict[str, Callable[[str], str]] = {"dedent": textwrap.dedent, "cleandoc": inspect.cleandoc, "str": str}


class _NotConstantError(Exception):
    """An expression whose value is known only when the program runs."""


@dataclass(slots=True)
class Constants:
    """Texts by name; `unfinished` are the literal parts of those that the program composes when it runs.

    The texts of a dict are called `NAME.key`, those of a list `NAME[0]`, those of messages `NAME.user` and `NAME.system`.
    A name that is assigned again is numbered: `NAME#2`.
    """

    texts: dict[str, str] = field(default_factory=dict[str, str])
    unfinished: dict[str, str] = field(default_factory=dict[str, str])


def constants(path: Path) -> Constants:
    """The texts of a .py file or an .ipynb notebook. Raises `PromptPackError`."""
    try:
        source = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            source = _notebook_source(source)
        tree = ast.parse(source)
        reader = _Reader()
        reader.visit(tree)
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError, RecursionError) as error:
        raise PromptPackError(f"cannot read string constants from {path}: {error}") from error
    return reader.constants


def _notebook_source(text: str) -> str:
    cells = cast(list[dict[str, Any]], json.loads(text).get("cells", []))
    code = ["".join(cell.get("source", [])) for cell in cells if cell.get("cell_type") == "code"]
    lines = [line for cell in code for line in cell.splitlines()]
    return "\n".join("pass" if line.lstrip().startswith(("%", "!")) else line for line in lines)


class _Reader(ast.NodeVisitor):
    """Reads assignments in their order, in any class or function."""

    def __init__(self) -> None:
        self.constants = Constants()
        self._values: dict[str, Any] = {}
        self._shown: dict[str, str] = {}

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self._assign(target.id, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if isinstance(node.target, ast.Name) and node.value is not None:
            self._assign(node.target.id, node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            name = node.target.id
            shown = self._shown.get(name, name)
            before = self.constants.texts.pop(shown, self.constants.unfinished.pop(shown, ""))
            whole = ast.BinOp(ast.Name(name, ast.Load()), node.op, node.value)
            self._assign(name, whole, shown, before)

    def _assign(self, name: str, value: ast.expr, shown: str | None = None, before: str = "") -> None:
        shown = shown or self._unique(name)
        self._shown[name] = shown
        self._note(shown, value, before)  # first, since the expression may hold the name's earlier value
        try:
            self._values[name] = self._value(value)
        except _NotConstantError:
            self._values.pop(name, None)

    def _unique(self, name: str) -> str:
        number, unique = 1, name
        while any(
            taken == unique or taken.startswith((f"{unique}.", f"{unique}["))
            for taken in (*self.constants.texts, *self.constants.unfinished)
        ):
            number += 1
            unique = f"{name}#{number}"
        return unique

    def _note(self, shown: str, node: ast.expr, before: str = "") -> None:
        """Remember the texts in an expression."""
        if isinstance(node, ast.Dict):
            for key, item in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant):
                    self._note(f"{shown}.{key.value}", item)
        elif isinstance(node, ast.List | ast.Tuple):
            for i, item in enumerate(node.elts):
                role, content = _message(item)
                self._note(f"{shown}[{i}]" if role is None else f"{shown}.{role}", content)
        else:
            self._note_text(shown, node, before)

    def _note_text(self, shown: str, node: ast.expr, before: str) -> None:
        try:
            text = self._value(node)
        except _NotConstantError:
            if isinstance(node, ast.Call):
                for keyword in node.keywords:
                    self._note(f"{shown}.{keyword.arg}", keyword.value)
            parts = before + "".join(_literals(node))
            if parts:
                self.constants.unfinished[shown] = parts
        else:
            if isinstance(text, str):
                self.constants.texts[shown] = text

    def _value(self, node: ast.expr) -> Any:
        """The value of a constant expression: a text, a number, or a list or dict of them. Raises `_NotConstantError`."""
        match node:
            case ast.Constant(str() | int() as value):
                return value
            case ast.Name(name) if name in self._values:
                return self._values[name]
            case ast.List(elements) | ast.Tuple(elements):
                return [self._value(element) for element in elements]
            case ast.Dict(keys, values):
                return {self._key(key): self._value(value) for key, value in zip(keys, values, strict=True)}
            case ast.Subscript(of, key):
                return self._item(self._value(of), self._value(key))
            case ast.JoinedStr(parts):
                return _bounded("".join(self._text(part) for part in parts))
            case ast.FormattedValue(value, -1, None):
                return self._text(value)
            case ast.BinOp(left, operator, right):
                return self._operated(self._value(left), operator, self._value(right))
            case ast.Call(function, arguments, []):
                return self._called(function, [self._value(argument) for argument in arguments])
            case _:
                raise _NotConstantError

    def _key(self, node: ast.expr | None) -> Any:
        if not isinstance(node, ast.Constant):
            raise _NotConstantError
        return node.value

    def _text(self, node: ast.expr) -> str:
        value = self._value(node)
        if not isinstance(value, str):
            raise _NotConstantError
        return value

    @staticmethod
    def _item(of: Any, key: Any) -> Any:
        try:
            return of[key]
        except (LookupError, TypeError):
            raise _NotConstantError from None

    @staticmethod
    def _operated(left: Any, operator: ast.operator, right: Any) -> Any:
        if isinstance(operator, ast.Add) and isinstance(left, str) and isinstance(right, str):
            return _bounded(left + right)
        if isinstance(operator, ast.Add) and isinstance(left, list) and isinstance(right, list):
            return cast("list[Any]", left + right)
        if isinstance(operator, ast.Mult) and isinstance(left, str) and isinstance(right, int) and len(left) * right <= MOST_CHARS:
            return left * right
        raise _NotConstantError

    def _called(self, function: ast.expr, arguments: list[Any]) -> str:
        """A call of one of the few known functions and methods. It never calls the file's own code."""
        name = function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
        try:
            if isinstance(function, ast.Attribute) and name in _METHODS:
                text = self._text(function.value)
                if _size(text) * _size(arguments) > 10 * MOST_CHARS:  # the longest text that `replace` or `join` could make of them
                    raise _NotConstantError
                return _bounded(getattr(text, name)(*arguments))
            if name in _FUNCTIONS and [type(argument) for argument in arguments] == [str]:
                return _bounded(_FUNCTIONS[name](*arguments))
        except (TypeError, ValueError):
            raise _NotConstantError from None
        raise _NotConstantError


def _message(node: ast.expr) -> tuple[str | None, ast.expr]:
    """The role and the content of a message, `{"role": ..., "content": ...}` or `("system", ...)`; no role for anything else."""
    if isinstance(node, ast.Dict):
        parts = {key.value: value for key, value in zip(node.keys, node.values, strict=True) if isinstance(key, ast.Constant)}
        role, content = parts.get("role"), parts.get("content")
    elif isinstance(node, ast.Tuple) and len(node.elts) == 2:
        role, content = node.elts
    else:
        return None, node
    if isinstance(role, ast.Constant) and role.value in ("system", "user", "human", "assistant") and content is not None:
        return str(role.value).replace("human", "user"), content
    return None, node


def _literals(node: ast.expr) -> list[str]:
    """The literal texts in an expression, with the names between them turned into placeholders."""
    literals: list[str] = []
    for child in ast.walk(node):
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            literals.append(child.value)
        elif isinstance(child, ast.FormattedValue) and isinstance(child.value, ast.Name):
            literals.append(f"{{{child.value.id}}}")
    return literals


def _size(value: Any) -> int:
    """Characters and items in a text or a list of texts."""
    if isinstance(value, list):
        return 1 + sum(_size(item) for item in cast("list[Any]", value))
    return len(value) if isinstance(value, str) else 1


def _bounded(text: str) -> str:
    if len(text) > MOST_CHARS:
        raise _NotConstantError
    return text
