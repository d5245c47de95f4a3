"""The pages of a cutout application in a browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.chromium import SHOTS
from tests.clients.test_browser import page
from tests.server import Server
from tests.soda.conftest import DID

__all__ = ["page"]


def test_the_job_page_shows_the_cutout(server: Server, page: Page) -> None:
    """The browser loads previews under the page's policy."""
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(f"{server.url}/images/new")
    page.locator("[name=ID]").first.fill(f"{DID}?meridian")
    page.locator("[name=CIRCLE]").first.fill("0 5 0.1")
    page.get_by_role("button", name="Add another CIRCLE").click()
    page.locator("[name=CIRCLE]").nth(1).fill("0.1 5.1 0.05")
    page.get_by_role("button", name="Create and run").click()
    page.wait_for_url("**/images/async/*")
    page.get_by_text("COMPLETED").first.wait_for(timeout=240_000)
    pictures = page.locator("figure img")
    assert pictures.count() == 2
    for number in range(2):
        pictures.nth(number).scroll_into_view_if_needed()
    page.wait_for_function("Array.from(document.images).every(one => one.complete)")
    assert page.evaluate("Array.from(document.images).map(one => one.naturalWidth > 100)") == [True, True]
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / "cutout.png", full_page=True)
    assert not problems


@pytest.mark.parametrize("name", ["m13"])
def test_the_examples_can_be_sent(server: Server, page: Page, name: str) -> None:
    """The application that ships shows its examples."""
    page.goto(f"{server.url}/cutout")
    assert f"images?{name}" in page.inner_text("body")
