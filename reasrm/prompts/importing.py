"""A prompt pack out of the string constants of a Python file or a notebook, so that a published judge gets its own exact texts.

The file is parsed, never run. A constant whose placeholders name a question and two answers is the user message; one that names
two conversations is the multi-turn message; a long one without placeholders is a system message.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from reasrm.errors import PromptPackError

_FIELD = re.compile(r"\{(\w+)\}")
_NAMES = {
    "question": ("question", "prompt", "instruction", "query", "user_question", "input"),
    "response_a": ("answer_a", "response_a", "answer_1", "response_1", "answer1", "response1", "output_1", "assistant_a"),
    "response_b": ("answer_b", "response_b", "answer_2", "response_2", "answer2", "response2", "output_2", "assistant_b"),
    "conversation_a": ("conversation_a", "conversation_1", "conversation1", "dialogue_a", "dialogue_1"),
    "conversation_b": ("conversation_b", "conversation_2", "conversation2", "dialogue_b", "dialogue_2"),
}
_OURS = {theirs: ours for ours, all_theirs in _NAMES.items() for theirs in all_theirs}
_SYSTEM_CHARS = 200  # shorter constants without placeholders are labels and names, not system messages


def constants(path: Path) -> dict[str, str]:
    """The string constants of a .py file or an .ipynb notebook by name (repeated ones numbered). Raises `PromptPackError`."""
    try:
        source = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            source = _notebook_source(source)
        tree = ast.parse(source)
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError) as error:
        raise PromptPackError(f"cannot read string constants from {path}: {error}") from error
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            _collect(node.targets[0].id, node.value, found)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            _collect(node.target.id, node.value, found)
    return found


def _collect(name: str, value: ast.expr, found: dict[str, str]) -> None:
    """Note a string under `name`; the strings of a dict under `name.key`."""
    if isinstance(value, ast.Dict):
        for key, item in zip(value.keys, value.values, strict=True):
            if isinstance(key, ast.Constant):
                _collect(f"{name}.{key.value}", item, found)
        return
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr in ("strip", "lstrip", "rstrip"):
        value = value.func.value
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        number = 1
        unique = name
        while unique in found:
            number += 1
            unique = f"{name}#{number}"
        found[unique] = value.value


def _notebook_source(text: str) -> str:
    cells = cast(list[dict[str, Any]], json.loads(text).get("cells", []))
    code = ["".join(cell.get("source", [])) for cell in cells if cell.get("cell_type") == "code"]
    lines = [line for cell in code for line in cell.splitlines()]
    return "\n".join("pass" if line.lstrip().startswith(("%", "!")) else line for line in lines)


def import_pack(
    source: Path,
    target: Path,
    *,
    kind: str = "rubric",
    user: str | None = None,
    conversation: str | None = None,
    system: str | None = None,
) -> dict[str, str]:
    """Write a pack folder at `target` from `source`'s constants; `user`, `conversation`, `system` name them where several fit.

    Returns which constant became which file. Raises `PromptPackError`, which lists the candidates.
    """
    if target.exists() and any(target.iterdir()):
        raise PromptPackError(f"{target} exists and is not empty: choose another folder with -o")
    found = constants(source)
    chosen = {
        "user.txt": _choose(found, user, {"question", "response_a", "response_b"}, "--user", required=conversation is None),
        "conversation.txt": _choose(found, conversation, {"conversation_a", "conversation_b"}, "--conversation"),
        "system.txt": _choose(found, system, set(), "--system"),
    }
    chosen = {file: name for file, name in chosen.items() if name is not None}
    if "user.txt" not in chosen:
        chosen["user.txt"] = chosen.pop("conversation.txt")
    texts = {file: _converted(found[name]) for file, name in chosen.items()}
    target.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        (target / file).write_bytes(text.encode())
    (target / "pack.toml").write_text(_manifest(target.name, kind, source, texts), encoding="utf-8")
    return dict(sorted(chosen.items()))


def _choose(found: Mapping[str, str], named: str | None, fields: set[str], flag: str, *, required: bool = False) -> str | None:
    if named is not None:
        if named not in found:
            raise PromptPackError(f"no string constant {named!r}; there are {', '.join(sorted(found)) or 'none'}")
        return named
    fitting = [name for name, text in found.items() if _fits(name, text, fields)]
    if len(fitting) > 1:
        raise PromptPackError(f"several constants fit: choose one with {flag}: {', '.join(fitting)}")
    if required and not fitting:
        what = "a question and two answers, such as {question}, {answer_a}, {answer_b}"
        raise PromptPackError(f"no string constant has placeholders for {what}; name one with {flag}")
    return fitting[0] if fitting else None


def _fits(name: str, text: str, fields: set[str]) -> bool:
    here = {_OURS[field.lower()] for field in _FIELD.findall(text) if field.lower() in _OURS}
    if fields:
        return fields <= here
    return not here and len(text) >= _SYSTEM_CHARS and "system" in name.lower()


def _converted(text: str) -> str:
    """`str.format` placeholders as ours; doubled braces, which stand for single ones there, as single ones."""
    parts = re.split(r"(\{\w+\})", text.replace("{{", "\x00").replace("}}", "\x01"))
    renamed = [f"{{{{{_OURS[part[1:-1].lower()]}}}}}" if part[1:-1].lower() in _OURS else part for part in parts]
    return "".join(renamed).replace("\x00", "{").replace("\x01", "}")


def _manifest(name: str, kind: str, source: Path, texts: Mapping[str, str]) -> str:
    fixed = sorted({line for text in texts.values() for line in _delimiters(text)})
    listed = "".join(f"  {json.dumps(line, ensure_ascii=False)},\n" for line in fixed)
    return (
        f'# imported from {source.name}\nname = {json.dumps(name)}\nversion = "1"\nkind = {json.dumps(kind)}\n'
        f'fence = "escape"\nstrip = false\n# look-alikes of these inside the texts are escaped\nfixed = [\n{listed}]\n'
    )


def _delimiters(text: str) -> list[str]:
    """The lines right before and after each placeholder: what a text would have to imitate to leave its place."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found: list[str] = []
    for number, line in enumerate(lines):
        if re.search(r"\{\{\w+\}\}", line):
            around = [*lines[max(0, number - 1) : number], *lines[number + 1 : number + 2], *re.split(r"\{\{\w+\}\}", line)]
            found += [each.strip() for each in around if 3 <= len(each.strip()) <= 80 and "{{" not in each]
    return found
