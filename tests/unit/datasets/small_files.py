"""Small files of rows, and the examples that are read from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reasrm.datasets import DataSet, Example

PAIR = {"prompt": "Name a prime.", "chosen": "seven", "rejected": "nine"}
CHAT = [{"role": "user", "content": "Name a prime."}]


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def only(path: Path, **options: Any) -> Example:
    """The example of a file that holds just one row."""
    (row,) = DataSet(path, **options)
    assert row.example is not None, row.error
    return row.example


def texts(example: Example) -> list[str]:
    return [message.content for message in example.question]


def whole(text: str) -> list[dict[str, Any]]:
    """A whole conversation whose response is `text`."""
    return [*CHAT, {"role": "assistant", "content": text}]
