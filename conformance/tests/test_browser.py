"""The HTML report in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutants import MUTANTS, build
from playwright.sync_api import Request
from reference_http import serve
from uws_conformance.cli import main

from tests.chromium import SHOTS, chromium


def test_report_in_a_browser(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page_file, profile = tmp_path / "report.html", tmp_path / "mine.yaml"
    profile.write_text("short: {MODE: short}\nfailing: {MODE: failing}\nsync: true\nwait: 1\npoll: 0.03\npatience: 3\n")
    with serve(build(next(mutant for mutant in MUTANTS if mutant.name == "create-201"))) as url:
        main([url, "--token", "alice", "--profile", str(profile), "--html", str(page_file), "--quiet"])
    fetched: list[str] = []
    problems: list[str] = []

    def note(request: Request) -> None:
        fetched.append(request.url)

    with chromium() as browser:
        page = browser.new_context(viewport={"width": 1100, "height": 900}).new_page()
        page.set_default_timeout(180_000)
        page.on("request", note)
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(page_file.as_uri())
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SHOTS / "conformance.png")
        assert page.title().startswith("UWS conformance of http://127.0.0.1")
        first = page.locator("h2:has-text('To mend') + table tr").nth(1)
        assert first.locator("b.o").inner_text() == "fail"
        assert first.locator("b.o").evaluate("node => getComputedStyle(node).backgroundColor") == "rgb(207, 34, 46)"
        # The number of a request links to it and opens it.
        page.locator("tr:has-text('U-120.create-303') a[href^='#x']").first.click()
        exchange = page.locator(":target")
        assert exchange.is_visible() and "uws-conformance" in exchange.inner_text()
        assert "authorization: (redacted)" in exchange.inner_text().lower()
        # Nothing is wider than the window.
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert problems == [] and fetched == [page_file.as_uri()]
