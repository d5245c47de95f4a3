"""Site Capabilities as a source of facts about sites: read, kept while it is down, and contradictions told.

SRCNet's own service can't be had; a small server answers as its contract says.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.server import Server
from tests.service.client import Uws
from uws_service.configuration import applications_of
from uws_service.domain.errors import ConfigurationError
from uws_service.settings import Settings

SECONDS = 120


class Api:
    """The two lists that are read."""

    def __init__(self) -> None:
        self.lists: dict[str, Any] = {"compute": [], "storages": []}
        self.is_down = False
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.removeprefix("/api/v1/")
                good = not api.is_down and self.headers.get("Authorization") == "Bearer secret"
                body = json.dumps(api.lists[name] if good else {"detail": "down"}).encode()
                self.send_response(200 if good else 503)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/api/v1"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    yield api
    api.stop()


def compute(disabled: bool, *downtime: dict[str, str]) -> dict[str, Any]:
    return {"id": "c1", "parent_site_id": "s1", "is_force_disabled": disabled, "downtime": list(downtime)}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_down_times_and_switches_count(tmp_path: Path, api: Api) -> None:
    """A site that is down or disabled there starts nothing; what was read last holds while the API is down."""
    begin = datetime.now(UTC) - timedelta(hours=1)
    dates = f"{begin.isoformat()} to {(begin + timedelta(hours=5)).isoformat()}"
    api.lists = {
        "compute": [compute(False, {"date_range": dates, "reason": "new cooling", "type": "Planned"})],
        "storages": [{"id": "st", "parent_site_id": "s2", "areas": [{"id": "disk"}]}],
    }
    sites = [{"name": "local", "facts": {"compute": "c1"}, "storage": [{"area": "disk"}]}]
    settings = {
        "UWS_SITES": json.dumps(sites),
        "UWS_SITE_CAPABILITIES": json.dumps({"url": api.url, "token": "secret", "interval": 0.2}),
    }
    server = Server(tmp_path, settings)
    server.start()
    try:
        with Uws(server.url, "sleep") as user:
            job = user.create({"SECONDS": "0", "SITE": "local", "PHASE": "RUN"})

            def says(words: str) -> bool:
                info = user.get(job, headers={"accept": "application/json"}).json()["jobInfo"]
                return words in (info["waiting"] or "")

            if user.get(f"{job}/phase").text == "QUEUED":
                until(lambda: says("new cooling") or user.get(f"{job}/phase").text == "COMPLETED")
            job = user.create({"SECONDS": "0", "SITE": "local", "PHASE": "RUN"})
            until(lambda: says("new cooling"))
            api.is_down = True
            server.stop()
            server.start()  # the API is down from the start on
            until(lambda: says("new cooling"))
            api.lists["compute"] = [compute(True)]
            api.is_down = False
            until(lambda: says("it is disabled in Site Capabilities"))
            api.lists["compute"] = [compute(False)]
            assert user.wait(job) == "COMPLETED"
        log = server.log.read_text()
        assert "the storage area disk is that of another site in Site Capabilities" in log
        assert "what it said last is used" in log
        assert "secret" not in log
    finally:
        server.stop()


def test_element_without_the_api_is_a_mistake(tmp_path: Path) -> None:
    settings = Settings.load(sites=[{"name": "local", "facts": {"compute": "c1"}}], data=tmp_path)
    with pytest.raises(ConfigurationError, match="site_capabilities is missing"):
        applications_of(settings)
