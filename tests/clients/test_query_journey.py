"""People with a browser at the query page.

To a plot, to TOPCAT by SAMP, with a phone, without a script.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, Page, Route
from pyvo.samp import SAMPHubServer, SAMPIntegratedClient, WebProfileDialog

from tests.chromium import SHOTS, chromium
from tests.server import Server
from tests.tap.test_topcat import display, ended, until
from tests.tiers import require

__all__ = ["display"]
QUERY = "SELECT name, ra, dec, bmag, vmag FROM openngc.objects WHERE vmag < 12"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a service that anybody may use."""
    running = Server(tmp_path_factory.mktemp("journey"))
    running.start()
    with httpx2.Client(base_url=running.url, timeout=120) as http:  # a cold process makes a job of its first query
        while http.post("/tap/query", data={"QUERY": QUERY}).status_code != 200:
            pass
    yield running
    running.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Yield a page.

    An error on its console fails, but the answers to what is wrong while one types.
    """
    problems: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(90_000)
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    yield opened
    context.close()
    assert not [problem for problem in problems if not re.search(r"status of (400|503)", problem)]


def shot(page: Page, name: str) -> None:
    """Keep a picture of the page."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def test_from_the_first_query_to_a_plot(service: Server, page: Page) -> None:
    """A word is completed, a mistake is underlined while one types, and the result is in the same page."""
    page.goto(f"{service.url}/tap/query")
    editor = page.locator(".cm-content")
    editor.click()
    page.keyboard.type("SELECT name, ra, dec, bmag, vmg FROM openngc.obj")
    page.get_by_role("option", name="objects").wait_for()
    page.wait_for_timeout(150)  # the editor takes no choice in the first 75 ms of its list
    page.keyboard.press("Enter")
    page.keyboard.type(" WHERE vmag < 12")
    page.locator(".cm-lintRange-error", has_text="vmg").wait_for()
    shot(page, "query-mistake")
    page.get_by_role("button", name="Run").click()
    page.get_by_role("heading", name="The query can’t be run").wait_for()
    page.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.type(QUERY)
    page.keyboard.press("Escape")
    page.keyboard.press("Control+Enter")
    page.locator("#answer-title", has_text="rows").wait_for()
    assert page.url == f"{service.url}/tap/query"
    shot(page, "query-table")
    page.get_by_role("tab", name="Table").press("ArrowRight")
    page.locator(".uplot canvas").wait_for()
    page.get_by_label("y", exact=True).select_option("bmag")
    page.locator("figure.plot figcaption", has_text="points").wait_for()
    shot(page, "query-plot")
    page.get_by_role("tab", name="Sky").click()
    page.locator("figure.sky svg").wait_for()
    shot(page, "query-sky")
    assert QUERY[:40] in page.locator("#recent").inner_text()
    page.get_by_label("Search tables, columns, UCDs").fill("redshift")
    assert page.locator(".tree details:visible").count() >= 1
    page.locator(".tree button.column", has_text="redshift").first.click()
    assert "redshift" in page.locator(".cm-content").inner_text()


def test_a_busy_service_is_asked_again(service: Server, page: Page) -> None:
    """One that answers 503 while somebody types marks the mistake later; the first answer is made up here."""
    answers: list[int] = []

    def answer(route: Route) -> None:
        answers.append(len(answers))
        if len(answers) > 1:
            route.continue_()
        else:
            route.fulfill(status=503, headers={"retry-after": "1"}, body="busy")

    page.route("**/tap/sync", answer)
    page.goto(f"{service.url}/tap/query")
    page.locator(".cm-content").click()
    page.keyboard.type("SELECT nme FROM openngc.objects")
    page.keyboard.press("Escape")
    page.locator(".cm-lintRange-error", has_text="nme").wait_for()
    assert len(answers) >= 2


def test_a_long_query_becomes_a_job_in_the_page(service: Server, page: Page) -> None:
    """The page tells, follows it and links to it."""
    page.goto(f"{service.url}/tap/query")
    page.locator(".cm-content").click()
    page.keyboard.type(QUERY)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Save as job").click()
    page.locator("#status", has_text="It is complete").wait_for()
    page.locator("#result .viewer table").wait_for()
    page.locator("#status a").click()
    page.get_by_role("link", name="Plot").first.click()
    page.locator(".uplot canvas").wait_for()
    shot(page, "viewer-plot")


def test_without_a_script_on_a_dark_phone(service: Server, browser: Browser) -> None:
    """The same form works, nothing is wider than the screen, and no control is without effect."""
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, color_scheme="dark", java_script_enabled=False
    )
    page = context.new_page()
    page.set_default_timeout(90_000)
    page.goto(f"{service.url}/tap/query")
    page.get_by_label("Query (ADQL)").fill(QUERY)
    page.get_by_role("button", name="Run").click()
    page.locator("#answer-title").wait_for()
    for name in ("Table", "Plot", "Sky"):
        assert page.get_by_role("heading", name=name, exact=True).is_visible()
    assert not page.get_by_role("button", name="Send to TOPCAT").is_visible()
    assert not page.get_by_label("Search tables, columns, UCDs").is_visible()
    shot(page, "query-phone")
    context.close()
    with_script = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page = with_script.new_page()
    for path in ("/tap/query", "/tap/tables", "/tap/tables/openngc.objects", "/tap/capabilities", "/tap/examples"):
        page.goto(f"{service.url}{path}")
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, (path, width)
    with_script.close()


class Consent(WebProfileDialog):
    """Lets every page of the Web Profile connect, as a person who is asked does."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll)
        self._thread.start()

    def _poll(self) -> None:
        while not self._ended.wait(0.05):
            self.handle_queue()

    def show_dialog(self, samp_name: str, details: Any, client: Any, origin: str) -> None:
        """Remember who asks, and agree."""
        self.names.append(samp_name)
        self.consent()

    def close(self) -> None:
        """End."""
        self._ended.set()
        self._thread.join()


# On a busy machine the hub gives a program up that does not hear in time; what it then says is no fault of ours.
@pytest.mark.filterwarnings("ignore::pyvo.samp.errors.SAMPWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_result_goes_to_topcat(service: Server, page: Page, display: str, tmp_path: Path) -> None:
    """By SAMP's Web Profile, through a real hub to a real TOPCAT, which then has the rows."""
    program = require("topcat")
    lock = tmp_path / "samp"
    consent = Consent()
    hub = SAMPHubServer(lockfile=str(lock), addr="127.0.0.1", web_profile=True, web_profile_dialog=consent)
    hub.start()
    client = SAMPIntegratedClient(addr="127.0.0.1")
    client.connect(hub=hub)
    environment = {**os.environ, "DISPLAY": display, "SAMP_HUB": f"std-lockurl:file://{lock}"}
    command = [program, f"-Duser.home={tmp_path}", "-nohub"]
    try:
        with (tmp_path / "log").open("wb") as log, ended(subprocess.Popen(command, env=environment, stderr=log)):
            name = next(iter(until(lambda: client.get_subscribed_clients("table.load.votable"), "TOPCAT")))
            page.goto(f"{service.url}/tap/query")
            page.locator(".cm-content").click()
            page.keyboard.type(QUERY)
            page.keyboard.press("Escape")
            page.keyboard.press("Control+Enter")
            page.locator("#answer-title", has_text="rows").wait_for()
            rows = int(page.locator("#answer-title").inner_text().split()[0].replace(",", ""))
            page.get_by_role("button", name="Send to TOPCAT").click()
            page.locator(".samp-status", has_text="Sent to 1 program").wait_for()
            table = page.locator("[data-samp]").get_attribute("data-samp-url")

            def has_row(row: int) -> bool:
                parameters = {"table-id": str(table), "row": str(row)}
                answer = client.ecall_and_wait(name, "table.highlight.row", "60", **parameters)
                return bool(answer["samp.status"] == "samp.ok")

            until(lambda: has_row(rows - 1), "the last row in TOPCAT")
            assert not has_row(rows) and consent.names == ["Job service"]
    finally:
        consent.close()
        client.disconnect()
        hub.stop()
