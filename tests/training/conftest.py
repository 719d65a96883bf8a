"""What several files of these tests use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.mini import LATER_STAGES, NOTHING_ELSE, RECIPE, Mini


@pytest.fixture
def mini(tiny_model: Path, tmp_path: Path) -> Mini:
    """`mini(name)` writes the recipe of a run that writes into the folder of that name; `short=True` leaves RL out."""

    def write(name: str, short: bool = False) -> Path:
        file = tmp_path / f"{name}.toml"
        file.write_text(RECIPE.format(output=tmp_path / name, model=tiny_model) + (NOTHING_ELSE if short else LATER_STAGES))
        return file

    return write
