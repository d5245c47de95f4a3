"""The page of the network.

Whom it is for, drains, failures.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from lxml import html

from tests.auth.callers import Caller
from tests.server import Server

BROWSER = {"accept": "text/html,application/xhtml+xml"}
PUBLIC_WORDS = {"site", "kind", "reachable", "slots", "waiting", "running", "drained", "putAside"}


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """Yield a client of a service that shows its network to everybody."""
    server = Server(tmp_path_factory.mktemp("network"), {"UWS_PUBLIC_NETWORK": "true"})
    server.start()
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client
    server.stop()


def test_who_may_read_it(callers: dict[str, Caller], secured: Server) -> None:
    """Administrators alone, unless the settings say otherwise."""
    for name, status in (("root", 200), ("alice", 403), ("nobody", 401)):
        answer = callers[name].http.get(f"{secured.url}/network", headers=BROWSER)
        assert answer.status_code == status, name
        for action in ("DRAIN", "UNDRAIN"):
            form = {"SITE": "elsewhere", "ACTION": action}
            refused = callers[name].http.post(f"{secured.url}/network", data=form)
            assert refused.status_code == (404 if name == "root" else status), name


def test_what_everybody_may_read(public: httpx2.Client) -> None:
    """Sites and failures; no groups, no drains, nothing of what is inside."""
    content = public.get("/network").json()
    assert set(content["sites"][0]) == PUBLIC_WORDS
    assert content["shares"] == content["problems"] == content["remarks"] == []
    page: Any = html.document_fromstring(public.get("/network", headers=BROWSER).text)
    assert "local" in page.text_content() and not page.xpath("//form")
    for action in ("DRAIN", "UNDRAIN"):
        assert public.post("/network", data={"SITE": "local", "ACTION": action}).status_code == 403


def test_a_drain_and_its_end(callers: dict[str, Caller], secured: Server) -> None:
    """An administrator drains a site with a reason that the page tells, and opens it again."""
    root = callers["root"].http
    url = f"{secured.url}/network"
    assert html.document_fromstring(root.get(url, headers=BROWSER).text).xpath("//button[@value='DRAIN']")
    form = {"SITE": "local", "ACTION": "DRAIN", "REASON": "new <disks>"}
    assert root.post(url, data=form).status_code == 303
    try:
        page: Any = html.document_fromstring(root.get(url, headers=BROWSER).text)
        assert "drained: new <disks>" in page.text_content() and page.xpath("//button[@value='UNDRAIN']")
    finally:
        assert root.post(url, data={"SITE": "local", "ACTION": "UNDRAIN"}).status_code == 303
    assert root.get(f"{secured.url}/sites/local").json()["drained"] is None
    assert root.post(url, data={"SITE": "local", "ACTION": "STOP"}).status_code == 400


def test_failures_of_the_last_day_are_counted(public: httpx2.Client) -> None:
    """They stand there by site and reason."""
    job = public.post("/sleep/async", data={"PHASE": "RUN", "SECONDS": "0", "EXIT": "3"}).headers["location"]
    for phase in ("QUEUED", "EXECUTING"):
        public.get(job, params={"WAIT": "50", "PHASE": phase})
    assert public.get(f"{job}/phase").text == "ERROR"
    assert {"site": "local", "reason": "ExitCode", "attempts": 1} in public.get("/network").json()["failures"]
    page: Any = html.document_fromstring(public.get("/network", headers=BROWSER).text)
    assert page.xpath("//section[@aria-labelledby='failures']//td[.='ExitCode']")
