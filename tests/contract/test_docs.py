"""Everything that the documents tell people to type exists: targets, extras, commands with flags, paths, imports, recipes."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from reasrm.errors import InputError
from tests.components import ROOT
from tests.documents import CHECKED, RUN, Block, blocks, blocks_of, differences, documents, shown_in

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
USAGE_ERROR: Any = typer.BadParameter.__base__  # of the click that typer depends on
OURS = ("reasrm", "reasrm_serving", "reasrm_training")
#: Foreign programs: their lines must only follow the shell's grammar.
FOREIGN = {
    "accelerate",
    "cat",
    "cd",
    "docker",
    "export",
    "git",
    "kubectl",
    "llama-server",
    "python",
    "sbatch",
    "sed",
    "swift",
    "tar",
}


def blocks_in(*languages: str) -> list[Any]:
    return [pytest.param(block, id=block.name) for block in blocks(*languages)]


def commands(text: str) -> Iterator[list[str]]:
    """The commands of a shell text as words, without comments, redirections and NAME=value before them."""
    for line in text.replace("\\\n", " ").splitlines():
        words: list[str] = []
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        for word in [*lexer, ";"]:
            if set(word) <= set("();<>|&"):
                if words and not (words[0].startswith("-") or words[0].startswith("/")):
                    yield words
                words = []
            elif words or not re.fullmatch(r"[A-Za-z_]+=.*", word):
                words.append(word)


def check_make(words: list[str]) -> None:
    done = subprocess.run(["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def check_pip(words: list[str]) -> None:
    assert words[0] == "install"
    for extra in re.findall(r"\[([\w,]+)\]", " ".join(words)):
        assert set(extra.split(",")) <= set(EXTRAS), f"no extra [{extra}]"


def check_reasrm(words: list[str]) -> None:
    """The command line parses: the command and its flags exist, and no required argument is missing."""
    from reasrm.commands.app import app

    command: Any = typer.main.get_command(app)
    words = list(words)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name = words.pop(0)
        assert name in command.commands, f"there is no command {name}"
        command = command.commands[name]
    if "--help" not in words and "--version" not in words:
        command.make_context("reasrm", words)


@functools.cache
def routes() -> frozenset[str]:
    from reasrm_serving.app import create_app
    from reasrm_serving.settings import Settings

    return frozenset(create_app(Settings()).openapi()["paths"])


def check_curl(words: list[str]) -> None:
    """The path is in the gateway's OpenAPI, unless it belongs to another server."""
    for url in (word for word in words if re.match(r"(?:http://)?[\w.-]+:\d+", word)):
        host, _, path = url.removeprefix("http://").partition("/")
        if host.endswith(":8900"):
            path = re.sub(r"\$\w+|[0-9a-f]{32,}", "{key}", path.partition("?")[0])
            assert f"/{path}" in routes(), f"the gateway has no /{path}"


CHECKS = {"make": check_make, "pip": check_pip, "reasrm": check_reasrm, "curl": check_curl}


@pytest.mark.parametrize("document", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in documents()])
def test_every_block_of_a_document_says_its_language(document: Path) -> None:
    assert not [block.name for block in blocks_of(document) if block.language not in RUN + CHECKED]
    assert document.read_text(encoding="utf-8").count("```") == 2 * len(blocks_of(document)), "a fence is not closed"


@pytest.mark.parametrize("block", blocks_in("sh"))
def test_a_command_of_the_documents_exists_with_its_flags(block: Block) -> None:
    read = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert read.returncode == 0, read.stderr
    for words in commands(block.text):
        if words[0] in CHECKS:
            CHECKS[words[0]](words[1:])
        elif "/" in words[0]:
            assert (ROOT / words[0]).exists(), f"there is no {words[0]}"
        else:
            assert words[0] in FOREIGN, f"{words[0]}: no check exists for this program"


@pytest.mark.parametrize("block", blocks_in("python", "py"))
def test_a_python_block_compiles_and_imports_only_names_that_exist(block: Block) -> None:
    tree = compile(block.text, block.name, "exec", flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    known: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            check_import(node, known)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        check_call(call, known)


def check_import(node: ast.Import | ast.ImportFrom, known: dict[str, Any]) -> None:
    """Imported names exist; our own go into `known`. The names of a framework that is not installed are not checked."""
    modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    for module in modules:
        root = module.partition(".")[0]
        if root in OURS:
            exec(compile(ast.Module(body=[node], type_ignores=[]), module, "exec"), known)
        elif importlib.util.find_spec(root) and isinstance(node, ast.ImportFrom):
            # by name only: to import a lazy package's names would load torch
            assert {alias.name for alias in node.names} <= set(dir(importlib.import_module(module))), ast.unparse(node)


def check_call(call: ast.Call, known: dict[str, Any]) -> None:
    """A function of ours, called or bound by `partial`, accepts its keywords."""
    named_ = [part.id for part in (call.func, *call.args[:1]) if isinstance(part, ast.Name)]
    name = named_[1] if named_[:1] == ["partial"] and len(named_) > 1 else named_[0] if isinstance(call.func, ast.Name) else ""
    function = known.get(name)
    if not callable(function) or not str(getattr(function, "__module__", "")).startswith(OURS):
        return
    taken = inspect.signature(function).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        assert {word.arg for word in call.keywords if word.arg} <= set(taken), f"{name} takes {', '.join(taken)}"


@pytest.mark.parametrize("block", blocks_in("toml"))
def test_a_toml_block_is_a_valid_file_of_its_kind(block: Block, tmp_path: Path) -> None:
    """A recipe, or changes to the 7B recipe, unless its title says that it is a list of keys or a prompt pack."""
    from reasrm_serving.auth.gate import load_keys
    from reasrm_training.config.recipes import load_recipe

    file = tmp_path / (block.title or "fragment.toml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(block.text)
    match file.name:
        case "keys.toml":
            assert load_keys(file)
        case "pack.toml":
            assert {"name", "version", "kind"} <= set(tomllib.loads(block.text))
        case _:
            whole = {"name", "model"} <= set(tomllib.loads(block.text))
            file.write_text(block.text if whole or block.title else f'extends = "rm-r1-qwen2.5-instruct-7b"\n{block.text}')
            assert load_recipe(file).stages


@pytest.mark.parametrize("block", blocks_in("yaml", "json"))
def test_a_block_of_data_can_be_parsed(block: Block) -> None:
    if block.language == "yaml":
        assert yaml.safe_load(block.text)
    elif (block.title or "").endswith(".jsonl"):
        assert [json.loads(line) for line in block.text.splitlines()]
    else:
        assert json.loads(block.text)


@pytest.mark.parametrize("document", ["README.md", "docs/rewards.md"])
def test_every_measured_figure_is_in_the_lab(document: str) -> None:
    lab = (ROOT / "LAB.md").read_text(encoding="utf-8")
    text = (ROOT / document).read_text(encoding="utf-8")
    (measured,) = re.findall(r"<!-- measured.*?-->(.*?)<!-- /measured -->", text, re.DOTALL)
    figures = re.findall(r"\d+\.\d+|\d+(?= %)", measured)
    assert figures
    assert not [figure for figure in figures if not re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d.]\d)", lab)]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("sh", "reasrm judge --vote 3 a b c"),
        ("sh", "reasrm score pairs.jsonl"),
        ("sh", "make nonesuch"),
        ("sh", 'pip install "reasrm[nonesuch]"'),
        ("sh", "curl -s http://localhost:8900/v1/nonesuch"),
        ("sh", "nonesuch --help"),
        ("sh", "if true; then"),
        ("py", "from reasrm import Nonesuch"),
        ("py", "from trl import Nonesuch"),
        ("py", "from reasrm.rewards.compose import gap\ngap(0.5, limits=3)"),
        ("toml", "[rlvr]\nstep = 40"),
        ("yaml", "a: [1"),
        ("json", '{"a": 1,}'),
    ],
)
def test_the_checks_of_the_documents_notice_mistakes(language: str, text: str, tmp_path: Path) -> None:
    block = Block(ROOT / "README.md", 1, language, None, text)
    check = {
        "sh": test_a_command_of_the_documents_exists_with_its_flags,
        "py": test_a_python_block_compiles_and_imports_only_names_that_exist,
        "toml": functools.partial(test_a_toml_block_is_a_valid_file_of_its_kind, tmp_path=tmp_path),
    }.get(language, test_a_block_of_data_can_be_parsed)
    with pytest.raises((AssertionError, ImportError, InputError, ValueError, yaml.YAMLError, USAGE_ERROR)):
        check(block)


def test_the_output_on_a_page_is_compared_with_the_real_output() -> None:
    assert shown_in("1,204 rows, 3.5 s\n... rest", "17 rows,\n 0.25 s and the rest")
    assert not shown_in("3 rows", "3 lines")
    assert not differences({"a": [{"b": 0.5}], "c": None, "d": "x..."}, {"a": [{"b": 1, "z": 0}], "c": None, "d": "xyz", "e": 1})
    assert differences({"a": {"b": 1}}, {"a": {"c": 1}}) == ["there is no .a.b"]
    assert differences({"winner": "A"}, {"winner": None}) == ['.winner is null, not "A"']


@pytest.mark.parametrize("module", ["reasrm", "reasrm.judging", "reasrm.benchmarks"])
def test_every_public_name_stands_in_the_reference(module: str) -> None:
    reference = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs/reference").glob("*.md"))
    shown = set(re.findall(r"\w+", reference)) | {"ReasrmError", "__version__"}  # the errors are shown whole
    assert set(importlib.import_module(module).__all__) <= shown


def test_every_file_that_the_documents_link_to_is_there() -> None:
    links = [
        (document, target)
        for document in documents()
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", document.read_text(encoding="utf-8"))
    ]
    assert links
    assert not [(document.name, target) for document, target in links if not (document.parent / target).exists()]
