"""Fixtures that several files of these tests use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina

from tests.training.mini_runs import LATER_STAGES, NOTHING_ELSE, RECIPE, Mini
from tests.training.scripted_oracles import Oracles, Setting


@pytest.fixture
def mini(tiny_model: Path, tmp_path: Path) -> Mini:
    """`mini(name)` writes the recipe of a run that writes into the folder of that name; `short=True` leaves RL out."""

    def write(name: str, short: bool = False) -> Path:
        file = tmp_path / f"{name}.toml"
        file.write_text(RECIPE.format(output=tmp_path / name, model=tiny_model) + (NOTHING_ELSE if short else LATER_STAGES))
        return file

    return write


@pytest.fixture
def oracles() -> Iterator[Oracles]:
    """A server in the role of the oracles; there is no pause between attempts."""
    server = Oracles()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    stamina.set_testing(True, attempts=100, cap=True)
    yield server
    stamina.set_testing(False)
    server.shutdown()
    server.server_close()


@pytest.fixture
def setting(tmp_path: Path, oracles: Oracles) -> Setting:
    """A recipe whose oracles are that server."""
    return Setting(tmp_path, oracles.url)
