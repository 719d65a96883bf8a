"""The playground as a page: its files, its content policy, its looks and its accessibility."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.components import ROOT, Gateway
from tests.e2e.playground_steps import VERDICT, Open, Picture, clipboard, example, judge, write

BUDGET = 100_000  # bytes that a first visit may load


HOSTILE = (
    '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script><b id="hostile">bold</b></textarea><svg onload=pwned=1>'
)


def test_texts_full_of_markup_and_script_stay_texts(open_page: Open) -> None:
    page = open_page()
    write(page, f"What is this? {HOSTILE}", HOSTILE, f"{HOSTILE} as well")
    judge(page)
    assert page.locator(".reading").nth(1).inner_text().strip() == HOSTILE
    page.get_by_role("link", name="Recent").click()
    expect(page.locator("#recent-list")).to_contain_text("<script>")
    assert page.evaluate("window.pwned") is None
    assert page.locator("#hostile").count() == 0


def test_replies_full_of_markup_and_script_stay_texts(open_page: Open) -> None:
    page = open_page()
    page.wait_for_selector(".example")
    reply = (
        f"<type>Chat</type><rubric>\n1. {HOSTILE} (100%)\n<justify>{HOSTILE}</justify></rubric><eval>{HOSTILE}<quote_A>{HOSTILE}"
    )
    event = "event: delta\ndata: " + json.dumps({"order": "ab", "reply": 0, "text": reply}) + "\n\n"
    page.route("**/v1/judge/stream", lambda route: route.fulfill(content_type="text/event-stream", body=event))
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("broke before the verdict")
    expect(page.locator(".criteria")).to_contain_text("<script>")
    expect(page.locator(".justification")).to_contain_text("<script>")
    expect(page.locator(".quote")).to_contain_text("<script>")
    assert page.evaluate("window.pwned") is None
    assert page.locator("#hostile").count() == 0


def test_nothing_but_the_pages_own_files_may_run(open_page: Open, gateway: Gateway) -> None:
    page = open_page(quiet=False)
    policy = page.request.get(gateway.url).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    page.evaluate("""() => {
      window.violations = [];
      document.addEventListener("securitypolicyviolation", (event) => violations.push(event.effectiveDirective));
      const script = document.createElement("script");
      script.textContent = "window.pwned = 1";
      document.head.append(script);
      const image = document.createElement("img");
      image.src = "http://127.0.0.1:9/pixel.png";
      document.body.append(image);
    }""")
    page.wait_for_function("window.violations.length >= 2")
    assert set(page.evaluate("violations")) == {"script-src-elem", "img-src"}
    assert page.evaluate("window.pwned") is None


def test_a_first_visit_loads_less_than_its_budget_and_from_nowhere_else(open_page: Open, gateway: Gateway) -> None:
    page = open_page(None)
    loaded: dict[str, int] = {}
    page.on("response", lambda response: loaded.setdefault(response.url, int(response.headers["content-length"])))
    page.goto(gateway.url)
    page.wait_for_selector("#model:not([hidden])")
    page.wait_for_load_state("networkidle")
    assert len(loaded) > 5
    assert all(url.startswith(gateway.url) for url in loaded)
    assert sum(loaded.values()) < BUDGET, loaded


def test_dark_and_light_follow_the_system_until_the_visitor_chooses(open_page: Open, picture: Picture) -> None:
    def paper(page: Page) -> int:
        return page.evaluate("Number(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0])")

    assert paper(open_page(color_scheme="light")) > 200
    page = open_page(color_scheme="dark")
    assert paper(page) < 60
    page.get_by_role("button", name="Dark colours").click()
    assert paper(page) > 200
    page.reload()
    assert paper(page) > 200
    page.get_by_role("button", name="Dark colours").click()
    example(page, "Card")
    judge(page)
    picture(page, "playground-dark")


@pytest.mark.parametrize("width", [390, 320])
def test_the_page_fits_a_phone(open_page: Open, picture: Picture, width: int) -> None:
    page = open_page(viewport={"width": width, "height": 800}, device_scale_factor=2)
    for name in ("Card", "Rank five"):
        example(page, name)
        page.locator("#judge").click()
        page.wait_for_selector(VERDICT)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        if name == "Card" and width == 390:
            picture(page, "playground-phone")
    page.goto(page.url.split("#")[0] + "#/recent")
    page.wait_for_selector("#recent-list table")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page: Open, scheme: str) -> None:
    page = open_page(color_scheme=scheme)
    serious: list[str] = []

    def check(where: str) -> None:
        page.wait_for_timeout(300)  # colours that fade have no contrast yet
        for violation in Axe().run(page).response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                serious.append(f"{where}: {violation['id']}: {violation['nodes'][0]['html'][:160]}")

    page.wait_for_selector(".example")
    check("start")
    example(page, "Note")
    judge(page)
    check("judgment")
    page.locator("#options-word").click()
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_role("button", name="Question: several turns").click()
    check("options and turns")
    example(page, "Rank five")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".matrix")
    check("ranking")
    page.get_by_role("link", name="Recent").click()
    page.wait_for_selector("#recent-list table")
    check("recent")
    page.get_by_role("link", name="API").click()
    page.locator(".operation summary").first.click()
    check("reference")
    assert not serious, "\n".join(serious)


def test_a_gateway_with_keys_asks_for_one_and_goes_on(
    browser: Browser, gateway_factory: Callable[..., Gateway], tmp_path: Path
) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[[key]]\nname = "me"\nsha256 = "{hashlib.sha256(b"open sesame").hexdigest()}"\n')
    with gateway_factory("--keys", str(keys)) as guarded:
        page = browser.new_page(permissions=["clipboard-read", "clipboard-write"])
        page.set_default_timeout(60_000)
        page.goto(guarded.url)
        example(page, "Outside its world")
        page.keyboard.press("Control+Enter")
        page.get_by_label("API key").fill("open sesame")
        page.keyboard.press("Enter")
        page.wait_for_selector(VERDICT)
        for button, command in (("curl", ["bash", "-c"]), ("Python", [sys.executable, "-c"])):
            copied = clipboard(page, button)
            assert "open sesame" not in copied
            key = os.environ | {"REASRM_TOKEN": "open sesame"}
            result = subprocess.run([*command, copied], capture_output=True, text=True, timeout=60, cwd=ROOT, env=key, check=True)
            assert "error" not in result.stdout, result.stdout
        page.get_by_role("link", name="Recent").click()
        expect(page.locator("#recent-list tbody tr")).to_have_count(3)
        page.context.close()


def test_the_api_is_described_without_help_from_elsewhere(open_page: Open) -> None:
    page = open_page("/#/api")
    page.locator(".operation summary", has_text="/v1/judge").first.click()
    expect(page.locator(".operation[open]")).to_contain_text("question")
    expect(page.locator(".operation[open]")).to_contain_text("curl -s http://127.0.0.1")
