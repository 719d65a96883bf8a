"""The documentation's site: built without a warning, whole without a network, and readable on a phone."""

from __future__ import annotations

import functools
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.components import ROOT

#: The theme's search box is a dialog without a name.
AXE = {"rules": {"aria-dialog-name": {"enabled": False}}}


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that says nothing."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, built from nothing; a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def opened(browser: Browser, width: int, scheme: str) -> tuple[Page, list[str], list[str]]:
    """A page, with the list of its foreign requests and of its complaints."""
    page = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme).new_page()  # type: ignore[arg-type]
    elsewhere: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: elsewhere.append(request.url) if urlsplit(request.url).hostname != "127.0.0.1" else None)
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    return page, elsewhere, complaints


def test_no_page_asks_for_anything_elsewhere_or_is_wider_than_a_phone(site: Path, address: str, browser: Browser) -> None:
    page, elsewhere, complaints = opened(browser, 390, "light")
    wide: list[str] = []
    for file in sorted(site.rglob("index.html")):
        path = file.parent.relative_to(site).as_posix()
        page.goto(f"{address}/{path}/".replace("/./", "/"))
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            wide.append(path)
    page.context.close()
    assert not [url for url in elsewhere if not url.startswith("data:")]
    assert not complaints
    assert not wide


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(address: str, browser: Browser, scheme: str) -> None:
    page, _, _ = opened(browser, 1280, scheme)
    problems: list[str] = []
    for path in ("/", "/start/", "/guide/http/", "/reference/testing/"):
        page.goto(address + path)
        violations = Axe().run(page, options=AXE).response["violations"]
        problems += [
            f"{path}: {violation['id']}: {violation['help']}"
            for violation in violations
            if violation["impact"] in ("critical", "serious")
        ]
    page.context.close()
    assert not problems
