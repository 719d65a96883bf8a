"""The page of recent judgments, in a real browser."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, expect
from reasrm_training.world.tasks import FAMILIES, generate

from tests.components import Gateway
from tests.e2e.playground_examples import shipped

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def used_gateway(gateway: Gateway) -> Gateway:
    """The gateway after the requests of two runs."""
    requests = {example["name"]: example["request"] for example in shipped()}
    loops = [("Sum", "run-one", "sums"), ("Card", "run-one", "cards"), ("Outside its world", "run-two", "chat")]
    for name, run, subset in loops:
        body = requests[name] | {"run": run, "subset": subset}
        assert httpx.post(f"{gateway.url}/v1/judge", json=body, timeout=60, trust_env=False).status_code == 200
    if os.environ.get("REASRM_PICTURES"):
        crowd(gateway)
    return gateway


def crowd(gateway: Gateway) -> None:
    """More judgments, so that the picture is not empty."""
    for family in FAMILIES:
        pairs = [{"question": t.question, "a": t.chosen, "b": t.rejected} for t in generate(11, 8, "heldout", families=(family,))]
        body = {"pairs": pairs, "run": "held-out", "subset": family, "timeout_s": 300}
        assert httpx.post(f"{gateway.url}/v1/judge/batch", json=body, timeout=300, trust_env=False).status_code == 200


def rows(page: Page, number: int) -> None:
    expect(page.locator("#recent-list tbody tr")).to_have_count(number)


def test_judgments_are_searched_and_filtered(open_page: Open, used_gateway: Gateway, picture: Callable[..., None]) -> None:
    page = open_page("/#/recent")
    page.wait_for_selector("#recent-list table")
    picture(page, "playground-recent", full_page=False)
    page.get_by_label("Run").select_option("run-one")
    rows(page, 2)
    page.get_by_label("Subset").select_option("cards")
    rows(page, 1)
    expect(page.locator("#recent-list")).to_contain_text("run-one / cards")
    page.get_by_label("Subset").select_option("")
    page.get_by_label("Search the texts").fill("THE RULE NAMED")
    rows(page, 1)
    page.get_by_label("Search the texts").fill("")
    page.get_by_label("Run").select_option("run-two")
    page.get_by_label("Outcome").select_option("outside_domain")
    rows(page, 1)
    expect(page.locator("#recent-tiles")).to_contain_text("100.0 %")  # of these have no verdict


def test_a_line_opens_its_judgment_at_an_address_of_its_own(open_page: Open, used_gateway: Gateway) -> None:
    page = open_page("/#/recent")
    page.get_by_label("Run").select_option("run-one")
    page.get_by_label("Subset").select_option("sums")
    rows(page, 1)
    page.locator("#recent-list a").click()
    page.wait_for_selector(".verdict:not(.waiting)")
    assert re.search(r"#/j/[0-9a-f]{40}$", page.url)
    again = open_page(page.url.removeprefix(used_gateway.url))
    expect(again.locator(".verdict .headline")).to_have_text(page.locator(".verdict .headline").inner_text(), use_inner_text=True)


def test_new_judgments_appear_on_an_open_page(open_page: Open, used_gateway: Gateway) -> None:
    page = open_page("/#/recent")
    page.wait_for_selector("#recent-list table")
    body = shipped()[0]["request"] | {"run": "late"}
    httpx.post(f"{used_gateway.url}/v1/judge", json=body, timeout=60, trust_env=False)
    expect(page.locator("#recent-list tbody tr").first).to_contain_text("late")


def test_a_judgment_that_is_not_kept_says_so(open_page: Open, used_gateway: Gateway) -> None:
    page = open_page("/#/j/0000", quiet=False)
    expect(page.get_by_role("alert")).to_contain_text("does not keep that judgment")
