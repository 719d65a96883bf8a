"""The picture of a real judgment for the README:   python -m tests.e2e.real_picture MODEL [EXAMPLE] [REASONING]

MODEL is what `reasrm serve --launch` takes, REASONING is "on" or "off". The page judges one of its examples with that model, and
what it shows then becomes `docs/pictures/playground-real.png`. The script prints the judgment, so that a document can name the run.
"""

from __future__ import annotations

import json
import shutil
import sys

from playwright.sync_api import Page, sync_playwright
from reasrm_serving.main import running
from reasrm_serving.settings import Settings

from tests.e2e.conftest import FLAGS, PICTURES
from tests.e2e.playground_steps import clipboard, example, judge

PATIENCE_MS = 1_800_000  # a model of some billion parameters on a laptop


def main(model: str, name: str = "Refusal", reasoning: str = "on") -> None:
    """Judge the example `name` on the page and store the page."""
    settings = Settings(port=0, launch=model, timeout_s=PATIENCE_MS / 1000)
    with running(settings) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        permissions = ["clipboard-read", "clipboard-write"]
        page = browser.new_context(viewport={"width": 1280, "height": 900}, permissions=permissions).new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(url)
        example(page, name)
        page.locator("#options-word").click()
        page.get_by_label("Reasoning").select_option(reasoning)
        page.locator("#options-word").click()
        sys.stdout.write(f"{judge(page)}\n{page.locator('.known').inner_text()}\n")
        _store(page)
        sys.stdout.write(json.dumps(json.loads(clipboard(page, "JSON")), indent=1) + "\n")
        browser.close()


def _store(page: Page) -> None:
    page.evaluate("scrollTo(0, 0)")
    page.mouse.move(0, 0)
    page.wait_for_timeout(400)  # colours fade in
    page.screenshot(path=PICTURES / "playground-real.png", full_page=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
