"""The actions of a visitor on the page, as functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from tests.e2e.playground_examples import shipped

Open = Callable[..., Page]
Picture = Callable[..., None]
EXAMPLES: dict[str, dict[str, Any]] = {example["name"]: example["request"] for example in shipped()}
VERDICT = ".verdict:not(.waiting)"
#: What the page says when a button has put something on the clipboard.
COPIED = {"Copy link": "Link copied", "curl": "curl command copied", "Python": "Python copied", "JSON": "JSON copied"}


def example(page: Page, name: str) -> None:
    page.get_by_role("group", name="Examples").get_by_role("button", name=name, exact=True).click()


def judge(page: Page) -> str:
    """Judge the pair in the form by the keyboard, and return the verdict's headline."""
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(VERDICT)
    return headline(page)


def headline(page: Page) -> str:
    return page.locator(f"{VERDICT} .headline").first.inner_text()


def write(page: Page, question: str, *responses: str) -> None:
    page.get_by_label("Question", exact=True).fill(question)
    for letter, text in zip("ABCDEFGH", responses, strict=False):
        page.get_by_label(f"Response {letter}", exact=True).fill(text)


def clipboard(page: Page, button: str) -> str:
    page.get_by_role("button", name=button, exact=True).click()
    expect(page.locator("#toast")).to_have_text(COPIED[button])
    return page.evaluate("navigator.clipboard.readText()")
