"""The generated reference pages agree with the commands, the gateway and the recipes."""

from __future__ import annotations

import pytest
from reasrm_serving.settings import Settings

from tests.contract import reference

PAGES = [reference.COMMANDS, reference.VARIABLES, reference.ROUTES, reference.RECIPES]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_generated_page_is_up_to_date(page) -> None:
    assert page.read_text(encoding="utf-8") == reference.pages()[page], "python -m tests.contract.reference --write"


def test_every_command_and_every_setting_of_the_gateway_stands_in_the_reference() -> None:
    commands, variables = (page.read_text(encoding="utf-8") for page in (reference.COMMANDS, reference.VARIABLES))
    for path, command in reference.commands():
        assert f"## {path}\n" in commands
        assert all(f"`{name}`" in commands for parameter in command.params for name in parameter.opts if name.startswith("-"))
    assert all(f"`REASRM_{name.removesuffix('_s').upper()}`" in variables for name in Settings.model_fields)


def test_every_key_of_a_recipe_has_a_description_of_its_own() -> None:
    rows = [line for line in reference.recipe_page().splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert not [row for row in rows if len(row.split(" | ")[3].removesuffix(" |").split()) < 3]
