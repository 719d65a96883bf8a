"""What the README tells people to type exists: targets, extras, commands with their flags, paths, imports."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.components import ROOT

DOCUMENTS = [name for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md") if (ROOT / name).exists()]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def blocks(language: str) -> list[tuple[str, str]]:
    """(document, text) of every fenced block in `language`."""
    return [(name, text) for name in DOCUMENTS for found, text in BLOCK.findall((ROOT / name).read_text()) if found == language]


def commands() -> list[tuple[str, str]]:
    """(document, command) of every line that a shell would run; continued lines are one, comments and pipes are cut off."""
    lines = [(name, line) for name, text in blocks("sh") for line in text.replace("\\\n", " ").splitlines()]
    return [(name, line.strip()) for name, line in lines if line.strip() and not line.lstrip().startswith("#")]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


def check_make(words: list[str]) -> None:
    assert run("make", "--dry-run", *words).returncode == 0, f"make {words} is unknown"


def check_pip(words: list[str]) -> None:
    assert words[0] == "install"
    for extra in re.findall(r"\[([\w,]+)\]", " ".join(words)):
        assert set(extra.split(",")) <= set(EXTRAS), f"no extra [{extra}]"


def check_reasrm(words: list[str]) -> None:
    """The subcommand exists, and each flag that is used stands in its help."""
    program = str(Path(sys.executable).parent / "reasrm")
    path: list[str] = []
    for word in words:
        if not re.fullmatch(r"[a-z][a-z-]*", word) or run(program, *path, word, "--help").returncode != 0:
            break
        path.append(word)
    shown = run(program, *path, "--help")
    assert shown.returncode == 0, shown.stderr
    assert path or words[0].startswith("-"), f"reasrm has no command {words[0]}"
    for flag in (word.partition("=")[0] for word in words if word.startswith("--")):
        assert flag in shown.stdout, f"reasrm {' '.join(path)} has no {flag}"


def check_curl(words: list[str]) -> None:
    """The path stands in the gateway's OpenAPI."""
    from reasrm_serving.app import create_app
    from reasrm_serving.settings import Settings

    known = set(create_app(Settings()).openapi()["paths"])
    (url,) = (word for word in words if word.startswith(("http://", "localhost")))
    path = "/" + url.removeprefix("http://").partition("/")[2].partition("?")[0]
    assert path in known, f"the gateway has no {path}"


CHECKS = {"make": check_make, "pip": check_pip, "reasrm": check_reasrm, "curl": check_curl}


@pytest.mark.parametrize(("document", "command"), commands())
def test_a_command_of_the_documents_exists_with_its_flags(document: str, command: str) -> None:
    words = shlex.split(command, comments=True)
    while "=" in words[0]:  # NAME=value before a command
        words = words[1:]
    if "|" in words:
        words = words[: words.index("|")]
    if words[-1] == "&":
        words = words[:-1]
    assert words[0] in CHECKS, f"{document} uses {words[0]}, which nothing here knows how to check"
    CHECKS[words[0]](words[1:])


@pytest.mark.parametrize(("document", "text"), [*blocks("python"), *blocks("py")])
def test_a_python_block_of_the_documents_compiles_and_its_imports_resolve(document: str, text: str) -> None:
    tree = compile(text, document, "exec", flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(body=imports, type_ignores=[]), document, "exec"), {})


def test_every_file_that_the_documents_link_to_is_there() -> None:
    links = [
        (name, target)
        for name in DOCUMENTS
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", (ROOT / name).read_text())
    ]
    assert links
    assert not [(name, target) for name, target in links if not (ROOT / target).exists()]
