"""The documentation in a real browser: search by keyboard, light and dark, nothing asked of another machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.cli import docs, docs_pages

from .contrast import hard_to_read
from .jupyter import Lab, Page

pytestmark = pytest.mark.browser


@pytest.fixture
def page(lab: Lab, tmp_path: Path) -> Iterator[Page]:
    docs_pages.write_site(tmp_path / "site")
    context = lab.browser.new_context(viewport={"width": 1200, "height": 900}, color_scheme="light")
    with docs.served(tmp_path / "site") as address:
        page = Page(context.new_page())
        page.page.goto(address)
        yield page
        context.close()


def test_a_word_is_found_and_its_page_opened(page: Page, tmp_path: Path) -> None:
    page.page.keyboard.press("/")
    page.page.keyboard.type("bootstrap interval")
    page.page.get_by_role("status").filter(has_text="result").wait_for()
    first = page.page.locator("#results a").first
    assert first.locator("mark").count() >= 1
    page.screenshot(tmp_path / "search.png")
    page.page.keyboard.press("ArrowDown")
    assert first.evaluate("(link) => link === document.activeElement")
    heading = first.locator("strong").inner_text()
    page.page.keyboard.press("Enter")
    page.page.wait_for_url("**#*")
    anchor = page.page.url.partition("#")[2]
    assert page.page.locator(f"[id='{anchor}']").inner_text() == heading
    page.page.get_by_label("Search").fill("<img src=x onerror=alert(1)>")
    assert page.page.get_by_role("status").inner_text() == "0 results"
    assert page.errors == page.dialogs == page.far_requests() == []


def test_the_choice_of_light_or_dark_is_kept_and_both_can_be_read(page: Page) -> None:
    button = page.page.get_by_role("button", name="Dark")
    for dark in ("true", "false"):
        button.click()
        page.page.get_by_role("link", name="Quick start").first.click()
        page.page.wait_for_url("**/quickstart.html")
        assert button.get_attribute("aria-pressed") == dark
        assert hard_to_read(page, "body") == []
    assert page.errors == []
