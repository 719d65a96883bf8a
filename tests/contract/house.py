"""The size and the structure of the code, as numbers: `python -m tests.contract.house`, which `make check` runs.

It prints the numbers and fails where one is beyond its limit. `--write` puts them into CONTRIBUTING.md.
"""

from __future__ import annotations

import ast
import asyncio
import re
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import grimp
import httpx
import uvicorn

from tests.components import ROOT
from tests.serving.scripted_engine import ScriptedEngine

PACKAGES = {
    "reasrm": ROOT / "reasrm",
    "reasrm_serving": ROOT / "serving" / "reasrm_serving",
    "reasrm_training": ROOT / "training" / "reasrm_training",
}
MAX_LINES, MAX_STATEMENTS, MAX_PATH = 300, 30, 14
PAGE = ROOT / "CONTRIBUTING.md"
PLACE = re.compile(r"(<!-- house -->\n).*?(<!-- /house -->)", re.DOTALL)
PAIR = {"question": "Which number is larger?", "a": "answer 3", "b": "answer 1"}


@dataclass(frozen=True, slots=True)
class House:
    """The numbers. Each list holds the places beyond its limit."""

    median_lines: int
    longest_file: tuple[int, str]
    longest_function: tuple[int, str]
    long_files: list[str]
    long_functions: list[str]
    cycles: list[str]
    shared_names: list[str]
    path: list[str]

    @property
    def lines(self) -> list[str]:
        """The numbers as sentences."""
        return [
            f"- Median file: {self.median_lines} lines. Longest file: {self.longest_file[0]} lines, `{self.longest_file[1]}` "
            f"(limit {MAX_LINES}).",
            f"- Longest function: {self.longest_function[0]} statements, `{self.longest_function[1]}` (limit {MAX_STATEMENTS}).",
            f"- Import cycles: {len(self.cycles)}. Class names in two places: {len(self.shared_names)}.",
            f"- Files of `serving/reasrm_serving` that run for a new judgment by `POST /v1/judge`: {len(self.path)} "
            f"(limit {MAX_PATH}).",
        ]

    @property
    def faults(self) -> list[str]:
        """Every value that is beyond its limit."""
        path = [f"POST /v1/judge passes {len(self.path)} files: {', '.join(self.path)}"] if len(self.path) > MAX_PATH else []
        return [
            *(f"more than {MAX_LINES} lines: {name}" for name in self.long_files),
            *(f"more than {MAX_STATEMENTS} statements: {name}" for name in self.long_functions),
            *(f"an import cycle: {cycle}" for cycle in self.cycles),
            *(f"one class name in two places: {name}" for name in self.shared_names),
            *path,
        ]


def measure() -> House:
    """Count everything."""
    files = [file for folder in PACKAGES.values() for file in sorted(folder.rglob("*.py"))]
    lengths = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in files}
    functions = [(count, f"{file.relative_to(ROOT)}:{name}") for file, tree in trees.items() for name, count in statements(tree)]
    return House(
        median_lines=round(statistics.median(lengths.values())),
        longest_file=max((lines, name) for name, lines in lengths.items()),
        longest_function=max(functions),
        long_files=[f"{name} ({lines})" for name, lines in lengths.items() if lines > MAX_LINES],
        long_functions=[f"{name} ({count})" for count, name in functions if count > MAX_STATEMENTS],
        cycles=cycles(),
        shared_names=shared_names(trees),
        path=asyncio.run(path_of_a_judgment()),
    )


def statements(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every function with the number of its statements, without its docstring and without the functions inside it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, sum(_count(statement) for statement in node.body) - (ast.get_docstring(node) is not None)


def _count(node: ast.stmt) -> int:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return 1
    inner = (child for child in ast.walk(node) if isinstance(child, ast.stmt))
    return sum(1 for _ in inner)


def shared_names(trees: dict[Path, ast.Module]) -> list[str]:
    """The names of public classes that several modules define."""
    homes: dict[str, list[str]] = defaultdict(list)
    for file, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(str(file.relative_to(ROOT)))
    return [f"{name} ({', '.join(files)})" for name, files in sorted(homes.items()) if len(files) > 1]


def cycles() -> list[str]:
    """Groups of modules that import one another, imports for type checkers left out."""
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
    upstream = {module: graph.find_upstream_modules(module) for module in graph.modules}
    groups = {
        frozenset({module, *(other for other in upstream[module] if module in upstream.get(other, ()))}) for module in upstream
    }
    return sorted(", ".join(sorted(group)) for group in groups if len(group) > 1)


async def path_of_a_judgment() -> list[str]:
    """The gateway's files that run while it makes one new judgment, with an engine that answers at once."""
    from reasrm_serving.app import create_app
    from reasrm_serving.settings import Settings

    home, seen = str(PACKAGES["reasrm_serving"]), set[str]()

    def watch(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(home):
            seen.add(str(Path(frame.f_code.co_filename).relative_to(home)))

    with engine() as url, tempfile.TemporaryDirectory() as state:
        app = create_app(Settings(engine=url, prompts="rubric", state_dir=Path(state)))
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=httpx.ASGITransport(app=app)) as client:
            first = await client.post("http://gateway/v1/judge", json=PAIR)  # files that open once are not part of the path
            while not (await client.get("http://gateway/v1/models")).json()["data"][0]["engines"][0]["abilities"]["probed"]:
                await asyncio.sleep(0.01)  # nor is what the gateway does in the background
            assert first.status_code == 200, first.text
            sys.setprofile(watch)
            try:
                judged = await client.post("http://gateway/v1/judge", json=PAIR | {"a": "answer 4"})
            finally:
                sys.setprofile(None)
            assert judged.status_code == 200 and not judged.json()["cached"], judged.text
    return sorted(seen)


@contextmanager
def engine() -> Generator[str]:
    """The address of a scripted engine in a thread of this process."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(ScriptedEngine().app, log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()


def main() -> None:
    """Print the numbers, then every value beyond its limit, and whether CONTRIBUTING.md has other numbers."""
    house = measure()
    written = "\n".join(house.lines) + "\n"
    sys.stdout.write(written)
    page = PAGE.read_text(encoding="utf-8")
    renewed = PLACE.sub(lambda match: match[1] + written + match[2], page)
    if "--write" in sys.argv[1:]:
        PAGE.write_text(renewed, encoding="utf-8")
    elif renewed != page:
        sys.stdout.write("CONTRIBUTING.md has older numbers: python -m tests.contract.house --write\n")
    for fault in house.faults:
        sys.stdout.write(f"FAULT {fault}\n")
    sys.exit(bool(house.faults))


if __name__ == "__main__":
    main()
