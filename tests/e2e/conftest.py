"""A real browser for the tests of the page: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.components import ROOT, Gateway

#: What the documents show; written by the tests when REASRM_PICTURES is set.
PICTURES = ROOT / "docs" / "pictures"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PATIENCE_MS = 60_000  # the judge is slow on a busy machine


@pytest.fixture(scope="module")  # per module: Playwright's own event loop blocks asynchronous tests
def browser() -> Iterator[Browser]:
    """Chromium."""
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("chromium is not installed; install it with: make chromium", pytrace=False)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture
def open_page(browser: Browser, gateway: Gateway) -> Iterator[Callable[..., Page]]:
    """`open_page(path, **context)` opens a page of the gateway in a browser without history.

    Every complaint of the page fails the test; `quiet=False` leaves that to the test, and `path=None` the opening.
    """
    complaints: list[str] = []
    contexts = []

    def open_(path: str | None = "/", *, quiet: bool = True, **settings: Any) -> Page:
        settings = {"viewport": {"width": 1280, "height": 900}, "permissions": ["clipboard-read", "clipboard-write"]} | settings
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        if quiet:
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        if path is not None:
            page.goto(gateway.url + path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not complaints


@pytest.fixture
def picture() -> Callable[..., None]:
    """`picture(page, name)` stores the page as a picture for the documents, if REASRM_PICTURES is set."""

    def take(page: Page, name: str, **how: Any) -> None:
        if not os.environ.get("REASRM_PICTURES"):
            return
        PICTURES.mkdir(parents=True, exist_ok=True)
        page.evaluate("scrollTo(0, 0)")
        page.mouse.move(0, 0)
        page.wait_for_timeout(400)  # colours fade in
        page.screenshot(path=PICTURES / f"{name}.png", **{"full_page": True} | how)

    return take
