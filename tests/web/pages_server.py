"""A service and a browser for tests of pages, with people who are told apart by a header."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Dialog, Page

from tests.chromium import SHOTS, chromium
from tests.server import Server

HEADER = "X-Auth-Request-User"
PROBE = Path(__file__).parent.parent / "service" / "probe.yaml"
COPIES = Path(__file__).parent / "copies.yaml"
PATIENCE_MS = 180_000
PATIENCE_SECONDS = 180.0
HTML = {"accept": "text/html,application/xhtml+xml"}
EVIL = "<img src=x onerror=alert(1)>\"'<script>alert(2)</script>"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a service whose proxy names its users."""
    settings = {"UWS_APPLICATIONS": f'["{PROBE}", "{COPIES}"]', "UWS_IDENTITY_HEADER": HEADER}
    running = Server(tmp_path_factory.mktemp("pages"), settings)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Yield Debian's Chromium."""
    with chromium() as opened:
        yield opened


class Person:
    """Somebody with a browser and a program, both with the same name."""

    def __init__(self, browser: Browser, server: Server, name: str, **options: Any) -> None:
        headers = {HEADER: name}
        self.server = server
        self.context: BrowserContext = browser.new_context(extra_http_headers=headers, **options)
        self.context.set_default_timeout(PATIENCE_MS)
        self.page: Page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda line: self.problems.append(line.text) if line.type == "error" else None)
        self.page.on("dialog", self._dismiss)
        self.http = httpx2.Client(base_url=server.url, headers=headers, timeout=60)

    def _dismiss(self, dialog: Dialog) -> None:
        self.problems.append(dialog.message)
        dialog.dismiss()

    def close(self) -> None:
        self.context.close()
        self.http.close()

    def job(self, application: str = "probe", **parameters: str) -> str:
        """Return the URL of a new job.

        PHASE=RUN starts it.
        """
        answer = self.http.post(f"/{application}/async", data=parameters)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def ended(self, job: str) -> str:
        """Return the phase of a job, once it has ended."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (phase := self.http.get(f"{job}/phase").text) in ("QUEUED", "EXECUTING") and time.monotonic() < deadline:
            self.http.get(f"{job}?WAIT=10&PHASE={phase}")
        return phase

    def open(self, path: str) -> Page:
        """Open a page, by its path or its URL."""
        self.page.goto(path if path.startswith("http") else f"{self.server.url}{path}")
        return self.page

    def shoot(self, name: str) -> None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png", full_page=True)

    def violations(self) -> list[tuple[str, list[str]]]:
        """Return what axe finds on the page, with the places."""
        hits = Axe().run(self.page).response["violations"]
        return [(hit["id"], [str(node["target"]) for node in hit["nodes"]]) for hit in hits]
