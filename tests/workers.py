"""How pytest-xdist's workers share the tests out: an SGLang that many tests ask is started by one of them only."""

from __future__ import annotations

import re
from functools import cache

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.components import ROOT

#: What an SGLang of the whole run is called, and how a file that asks it can be told.
SHARED = {"random_judge": r"\b(random_judge|plain_gateway|two_gateways)\b", "sglang": r"\bsglang: Sglang\b"}


@cache
def group(file: str) -> str:
    """What the tests of `file` belong to: the SGLang that they ask, or else the file itself."""
    text = (ROOT / file).read_text(encoding="utf-8")
    return next((name for name, pattern in SHARED.items() if re.search(pattern, text)), file)


def long_first(items: list[pytest.Item]) -> None:
    """Move the groups with a test that may take longer than usual to the front, so that no worker is left with one at the end."""
    groups = {id(item): group(item.nodeid.partition("::")[0]) for item in items}
    long = {groups[id(item)] for item in items if item.get_closest_marker("timeout")}
    items.sort(key=lambda item: groups[id(item)] not in long)


class ByServer(LoadScopeScheduling):
    """Hands out whole groups, in the order of the tests."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid.partition("::")[0])
