"""Dashboard and alerts: every query parses, and a real gateway exports every series that it names."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry
from reasrm_serving.settings import Settings
from reasrm_serving.wiring import open_services

from reasrm.types import Reason, Side
from tests.deploy.manifests import DEPLOY

MONITORING = DEPLOY / "monitoring"
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
RULES: list[dict[str, Any]] = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
OF_PROMETHEUS = {"up"}
OF_THE_SCRAPE = {"job", "instance"}


def queries() -> Iterator[tuple[str, str]]:
    """(where, query) of every panel and every rule; Grafana's own variables as a span of time."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], re.sub(r"\$__(rate_interval|range)", "5m", target["expr"])
    for rule in RULES:
        yield rule.get("alert") or rule["record"], rule["expr"]


def selectors(query: str) -> Iterator[promql_parser.VectorSelector]:
    """Every selector of a series in `query`. Raises ValueError where it is no PromQL."""

    def below(node: Any) -> Iterator[promql_parser.VectorSelector]:
        if isinstance(node, promql_parser.VectorSelector):
            yield node
        for name in ("expr", "lhs", "rhs", "param", "vector_selector", "args"):
            child = getattr(node, name, None)
            for member in child if isinstance(child, list) else [child]:
                if member is not None and not isinstance(member, (str, float)):
                    yield from below(member)

    yield from below(promql_parser.parse(query))


def labels_by_name(registry: CollectorRegistry) -> dict[str, set[str]]:
    """Every series that `registry` can export, with its labels. A metric whose labels have no values yet counts too."""
    labels = {
        getattr(collector, "_name", ""): set(getattr(collector, "_labelnames", ())) for collector in registry._collector_to_names
    }
    return {
        family.name + ending: labels.get(family.name, set()) | ({"le"} if ending == "_bucket" else set())
        for family in registry.collect()
        for ending in ENDINGS[family.type]
    }


@pytest.fixture
async def exported() -> dict[str, set[str]]:
    """The series of a real gateway; it exports them without an engine or a Redis."""
    settings = Settings(engine="http://127.0.0.1:1", cache="redis://127.0.0.1:1/0", fence_secret="x")  # type: ignore[arg-type]
    async with open_services(settings) as services:
        return labels_by_name(services.metrics.registry)


async def test_every_query_names_a_metric_that_the_gateway_exports(exported: dict[str, set[str]]) -> None:
    named = {(where, selector.name) for where, query in queries() for selector in selectors(query)}
    assert len(named) > 25
    assert not {(where, name) for where, name in named if name not in {*exported, *RECORDED, *OF_PROMETHEUS}}


async def test_every_query_selects_by_labels_that_the_metric_has(exported: dict[str, set[str]]) -> None:
    for where, query in queries():
        for selector in selectors(query):
            has = exported.get(str(selector.name), set()) | OF_THE_SCRAPE
            assert {matcher.name for matcher in selector.matchers.matchers} <= has, f"{where}: {query}"
        known = set().union(*(exported.get(str(selector.name), set()) for selector in selectors(query))) | OF_THE_SCRAPE
        for group in re.findall(r"\bby \(([^)]*)\)", query):
            assert set(group.replace(" ", "").split(",")) <= known, f"{where}: {query}"


def test_the_dashboards_use_the_gateways_names_of_winners_and_reasons() -> None:
    known = {*get_args(Side), *get_args(Reason), "judged"}
    spelt = [value for _, query in queries() for value in re.findall(r'outcome\S?[=~]"([^"]*)"', query)]
    assert spelt
    assert {word for value in spelt for word in value.split("|")} <= known


async def test_nothing_that_the_gateway_counts_is_left_off_the_dashboard(exported: dict[str, set[str]]) -> None:
    drawn = {str(selector.name) for panel in PANELS for target in panel["targets"]
             for selector in selectors(re.sub(r"\$__(rate_interval|range)", "5m", target["expr"]))}  # fmt: skip
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported if name.startswith("reasrm_")}
    assert families == {re.sub(r"_bucket$", "", name) for name in drawn if name.startswith("reasrm_")}


def test_a_query_with_a_mistake_does_not_pass() -> None:
    with pytest.raises(ValueError, match=r"."):
        list(selectors("sum(rate(reasrm_judgments_total[5m]))) / 2"))


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells


def test_every_alert_has_a_section_in_the_runbooks_and_every_section_an_alert() -> None:
    runbooks = (DEPLOY / "runbooks.md").read_text()
    headings = set(re.findall(r"^## (Reasrm\w+)$", runbooks, re.MULTILINE))
    assert headings == {rule["alert"] for rule in ALERTS}
    for rule in ALERTS:
        assert rule["annotations"]["runbook"] == f"runbooks.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]


@pytest.mark.parametrize("what", [("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")], ids="-".join)
def test_promtool_accepts(what: tuple[str, str, str], tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.fail("promtool is not installed; install it with: make promtool", pytrace=False)
    for file in (*MONITORING.glob("*.yml"), Path(__file__).with_name("alerts_test.yml")):
        shutil.copy(file, tmp_path)
    done = subprocess.run(["promtool", *what], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
