"""A file of JSON lines whose rows carry a `step`: metrics, judgments along the way, sampled replies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reasrm_training.data.files import write_whole


class StepLog:
    """The rows in the file at `path`. Going back to a checkpoint takes back what was written after it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, step: int, row: Mapping[str, Any]) -> None:
        """Append one row."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **row}) + "\n")

    def read(self) -> list[dict[str, Any]]:
        """All rows, or none where there is no file. A line that a kill cut short is no row."""
        if not self.path.is_file():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

    def rewind(self, step: int) -> None:
        """Keep the rows up to and including `step`."""
        if self.path.exists():
            rows = [row for row in self.read() if row["step"] <= step]
            write_whole(self.path, "".join(json.dumps(row) + "\n" for row in rows).encode())
