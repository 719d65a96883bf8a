"""The documents and the blocks in them, as the tests check and run them.

A block under the long name of its language (bash, python) is run as it stands; under the short one (sh, py) it is a fragment, or
needs a component that the tests lack, and is only checked. A block with a title is the file of that name, for the blocks after it.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.components import ROOT

FENCE = re.compile(
    r'^(?P<indent> *)```(?P<language>\w*)(?: title="(?P<title>[^"]+)")?[^\n]*\n(?P<text>.*?)^(?P=indent)```$',
    re.MULTILINE | re.DOTALL,
)
#: The address of the gateway in the documents; the tests replace it by their own.
ADDRESSES = ("http://localhost:8900", "http://127.0.0.1:8900")
RUN = ("bash", "python")
CHECKED = ("sh", "py", "toml", "yaml", "json", "text")
_NUMBER = r"[-+]?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?"
_PARTS = re.compile(rf"(\.\.\.|{_NUMBER}|\s+)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. `line` is where it begins in its document; one with a `title` is a file."""

    document: Path
    line: int
    language: str
    title: str | None
    text: str

    @property
    def name(self) -> str:
        """Its place in the documents, for people."""
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def documents() -> list[Path]:
    """The documents that tell people what to type; what docs/ only links to stands in the list once, at its own place."""
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "deploy/README.md", "deploy/runbooks.md")]
    return top + sorted(path for path in (ROOT / "docs").rglob("*.md") if not path.is_symlink())


def blocks_of(document: Path) -> list[Block]:
    """The blocks of a document, in their order."""
    text = document.read_text(encoding="utf-8")
    return [
        Block(document, text[: fence.start()].count("\n") + 1, fence["language"], fence["title"], textwrap.dedent(fence["text"]))
        for fence in FENCE.finditer(text)
    ]


def blocks(*languages: str) -> Iterator[Block]:
    """The blocks in these languages, of all documents."""
    return (block for document in documents() for block in blocks_of(document) if block.language in languages)


def at(text: str, url: str) -> str:
    """`text` with the gateway at `url`."""
    for address in ADDRESSES:
        text = text.replace(address, url)
    return text


def shown_in(shown: str, printed: str) -> bool:
    """Whether `printed` is what the document shows: any number for a number, any space for space, anything for `...`."""
    parts = (_pattern(part) for part in _PARTS.split(shown.strip()))
    return re.fullmatch("".join(parts), printed.strip(), re.DOTALL) is not None


def _pattern(part: str) -> str:
    if part == "...":
        return ".*?"
    if part.isspace():
        return r"\s+"
    return _NUMBER if _PARTS.fullmatch(part) else re.escape(part)


def differences(shown: Any, actual: Any, path: str = "") -> list[str]:
    """Where JSON that a document shows differs from the real JSON: members may be left out, numbers may differ."""
    if isinstance(shown, dict):
        if not isinstance(actual, dict):
            return [f"{path or 'the answer'} is {json.dumps(actual)[:80]}"]
        return [
            difference
            for key, value in shown.items()
            for difference in (differences(value, actual[key], f"{path}.{key}") if key in actual else [f"there is no {path}.{key}"])
        ]
    if isinstance(shown, list):
        if not isinstance(actual, list) or len(actual) < len(shown):
            return [f"{path} is {json.dumps(actual)[:80]}"]
        return [difference for i, value in enumerate(shown) for difference in differences(value, actual[i], f"{path}[{i}]")]
    numbers = all(isinstance(side, int | float) and not isinstance(side, bool) for side in (shown, actual))
    if numbers or shown == actual or (isinstance(shown, str) and isinstance(actual, str) and shown_in(shown, actual)):
        return []
    return [f"{path} is {json.dumps(actual)[:80]}, not {json.dumps(shown)}"]
