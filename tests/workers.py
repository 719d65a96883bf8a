"""The distribution of tests over pytest-xdist's workers: only one of them starts an SGLang that many tests use."""

from __future__ import annotations

import re
from functools import cache

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.components import ROOT

#: The name of an SGLang that the whole run shares, and the pattern of a file that uses it.
SHARED = {"random_judge": r"\b(random_judge|plain_gateway|two_gateways)\b", "sglang": r"\bsglang: Sglang\b"}


@cache
def group(file: str) -> str:
    """The group of the tests of `file`: the SGLang that they use, or else the file itself."""
    text = (ROOT / file).read_text(encoding="utf-8")
    return next((name for name, pattern in SHARED.items() if re.search(pattern, text)), file)


def long_first(items: list[pytest.Item]) -> None:
    """Move the groups with a long test to the front, so that no worker is left with one at the end."""
    groups = {id(item): group(item.nodeid.partition("::")[0]) for item in items}
    long = {groups[id(item)] for item in items if item.get_closest_marker("timeout")}
    items.sort(key=lambda item: groups[id(item)] not in long)


class ByServer(LoadScopeScheduling):
    """Hands out whole groups, in the order of the tests."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid.partition("::")[0])
