"""A person with a browser.

Headless Chromium runs a job.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Dialog, Page

from tests.chromium import SHOTS, chromium
from tests.server import Server


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """Yield a page.

    Any error on its console fails.
    """
    with chromium() as browser:
        context = browser.new_context(viewport={"width": 1100, "height": 900})
        opened = context.new_page()
        opened.set_default_timeout(180_000)
        yield opened


def test_a_job_from_the_first_page_to_its_end(server: Server, page: Page) -> None:
    """U-005: pages for people; the job page shows what the document says."""
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.goto(f"{server.url}/")
    page.screenshot(path=SHOTS / "root.png", full_page=True)
    page.get_by_role("link", name="probe").or_(page.get_by_role("link", name="A probe for tests")).first.click()
    page.wait_for_url("**/probe")
    page.get_by_role("link", name="New job").first.click()
    page.wait_for_url("**/probe/new")
    page.screenshot(path=SHOTS / "application.png", full_page=True)
    page.locator("[name=SECONDS]").fill("8")
    page.locator("[name=OUTPUT]").fill("2048")
    page.get_by_role("button", name="Create and run").click()
    page.wait_for_url("**/probe/async/*")
    job = page.url
    page.get_by_text("COMPLETED").first.wait_for(timeout=240_000)
    page.screenshot(path=SHOTS / "job.png", full_page=True)
    page.get_by_text("Python, checksum").first.click()
    body = page.inner_text("body")
    for words in (job.rpartition("/")[2], "2048", "SECONDS", "SHA-256", "result"):
        assert words.lower() in body.lower(), words
    # Colours of the phase badge come from the style sheet: it was loaded and applied.
    assert page.evaluate("getComputedStyle(document.querySelector('h1')).fontFamily") != "Times New Roman"
    page.get_by_text("Delete …").click()
    page.get_by_role("button", name="Delete it").click()
    page.wait_for_url("**/probe/async")
    assert job.rpartition("/")[2] not in page.inner_text("body")
    assert not problems


def test_a_failed_job_says_why(server: Server, page: Page) -> None:
    """The reason and the log's end are shown."""
    page.goto(f"{server.url}/probe/new")
    page.locator("[name=EXIT]").fill("4")
    page.get_by_role("button", name="Create and run").click()
    page.wait_for_url("**/probe/async/*")
    page.get_by_text("ERROR").first.wait_for(timeout=240_000)
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / "failed.png", full_page=True)
    assert "4" in page.inner_text("body")


def test_a_page_can_not_be_made_to_run_a_script(server: Server, page: Page) -> None:
    """Whatever parameters hold is shown, not run."""
    fired: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        fired.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    answer = page.request.post(f"{server.url}/probe/async", form={"TAG": evil, "RUNID": evil[:60]}, max_redirects=0)
    page.goto(answer.headers["location"])
    assert evil in page.inner_text("body")
    assert not fired
    policy = page.request.get(answer.headers["location"], headers={"accept": "text/html,application/xhtml+xml"})
    assert (
        "script-src" in policy.headers["content-security-policy"]
        or "default-src" in policy.headers["content-security-policy"]
    )
