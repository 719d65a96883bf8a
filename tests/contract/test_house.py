"""The script that measures the code finds values beyond its limits."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.components import ROOT
from tests.contract import house


def test_a_function_is_as_long_as_its_statements_without_docstring_and_inner_functions() -> None:
    inner = "    def inner():\n        y = 1\n        return y\n"
    tree = ast.parse(f'def outer():\n    """Doc."""\n    x = 1\n    if x:\n        return 2\n{inner}    return inner\n')
    assert dict(house.statements(tree)) == {"outer": 5, "inner": 2}


def test_a_public_class_name_in_two_files_is_found() -> None:
    one, two = ast.parse("class Journal: ...\nclass _Private: ..."), ast.parse("class Journal: ...\nclass _Private: ...")
    names = house.shared_names({ROOT / "a.py": one, ROOT / "b.py": two, ROOT / "c.py": ast.parse("class Other: ...")})
    assert names == ["Journal (a.py, b.py)"]


def test_a_value_beyond_a_limit_is_a_fault() -> None:
    counted = house.House(
        90, (301, "a.py"), (31, "a.py:f"), ["a.py (301)"], ["a.py:f (31)"], ["a, b"], ["X (a.py, b.py)"], ["f"] * 15
    )
    assert len(counted.faults) == 5
    assert not house.House(90, (300, "a.py"), (30, "a.py:f"), [], [], [], [], ["f"] * 14).faults


def test_the_page_has_a_place_for_the_numbers() -> None:
    assert house.PLACE.search(Path(house.PAGE).read_text(encoding="utf-8"))
