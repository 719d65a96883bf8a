"""`reasrm data clean`: changes or drops labels and rows by strength, duplication and contamination."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from reasrm.commands.output import check_free, counted, whole_file
from reasrm.commands.score import tell
from reasrm.commands.settings import DataSettings
from reasrm.errors import InputError
from reasrm.messages import Frozen

EXAMPLES = """Examples:

  reasrm data clean pairs.jsonl -o clean.jsonl --against rewardbench.parquet

  reasrm data clean pairs.jsonl -o clean.jsonl --strength strength.jsonl --flip-below -0.6 --drop-below 0.1

  reasrm data clean pairs.jsonl -o clean.jsonl --strength strength.jsonl --margin

OUTPUT holds prompt, chosen, rejected as TRL reads them; OUTPUT.actions.jsonl says what was done to each row."""


class CleanSettings(Frozen):
    """The rules of the cleaning, and the file for the rows."""

    output: Path = Field(description="The file to write (.jsonl).", json_schema_extra={"flags": ["-o", "--output"]})
    strength: Path | None = Field(default=None, description="Strengths of `reasrm data strength` over the same input.")
    flip_below: float | None = Field(default=None, ge=-1, le=1, description="Exchange chosen and rejected below this strength.")
    drop_below: float | None = Field(default=None, ge=-1, le=1, description="Then drop rows below this strength.")
    margin: bool = Field(
        default=False, description="Add the margin of TRL's RewardTrainer, in logits; rows without a strength are dropped."
    )
    near: float = Field(
        default=0.8, ge=0, le=1, description="Similarity from which two rows count as one; 1 finds exact duplicates only."
    )
    against: tuple[str, ...] = Field(default=(), description="Benchmarks or splits whose questions no row may ask.")
    restart: bool = Field(default=False, description="Replace the output.")


def clean(rows: DataSettings, settings: CleanSettings) -> None:
    """Flip or drop labels by their strength, add margins, and drop duplicates and contamination."""
    from reasrm.datasets import read_examples
    from reasrm.quality import Rules
    from reasrm.quality import clean as cleaned

    output, by_strength = settings.output, (settings.flip_below, settings.drop_below)
    check_free(output, settings.restart)
    if settings.strength is None and (settings.margin or any(limit is not None for limit in by_strength)):
        raise InputError("these rules need strengths: give --strength FILE, made by reasrm data strength", field="strength")
    rules = Rules(*by_strength, settings.margin, settings.near if 0 < settings.near < 1 else None)
    examples = [example for path in settings.against for example in read_examples(path)]
    measured = _strengths(settings.strength) if settings.strength else None
    counts = Counter[str]()
    actions = output.with_name(output.name + ".actions.jsonl")
    with rows.data() as data, whole_file(output) as file, whole_file(actions) as log:
        for action, row in cleaned(_checked(data, measured), rules, measured, examples):
            counts[f"dropped ({action.reason.partition(':')[0].partition(' of ')[0]})" if row is None else action.action] += 1
            log.write(action.model_dump_json() + "\n")
            if row is not None:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    for note in data.notes:
        tell(note)
    sys.stdout.write(f"{output}: {counted(counts)}\n")
    tell(f"row by row: {actions}")


def _strengths(path: Path) -> dict[int, Any]:
    from pydantic import ValidationError

    from reasrm.quality import Strength

    strengths: dict[int, Strength] = {}
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                row = Strength.model_validate_json(line)
            except ValidationError:
                raise InputError(f"{path}, row {number}: not a row of reasrm data strength", field="strength") from None
            strengths[row.index] = row
    return strengths


def _checked(rows: Iterable[Any], measured: dict[int, Any] | None) -> Iterable[Any]:
    """The rows. Raises InputError at the first one that is not the row that was measured."""
    for row in rows:
        strength = measured.get(row.index) if measured is not None else None
        if measured is not None and (strength is None or strength.id != row.id):
            raise InputError(f"{row.where}: the strengths are of other rows; measure this input again", field="strength")
        yield row
